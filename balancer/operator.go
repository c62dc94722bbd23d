package balancer

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/lapse"
)

// An AdminState is what the operator wants of a lane, as HAProxy has it beside
// the state that the checks find.
type AdminState string

// The admin states. The empty AdminState is to use the lane.
const (
	Drained  AdminState = "drained"  // nothing new; what is in flight finishes
	Disabled AdminState = "disabled" // no traffic and no probes
)

// adminState is an AdminState that ends by itself.
type adminState struct {
	word  AdminState
	until time.Time // zero: it has no end
}

// at returns what the operator wants of the lane at now.
func (a adminState) at(now time.Time) AdminState {
	if lasts(a.until, now) {
		return a.word
	}
	return ""
}

// lasts reports whether something that ends at until, if that is not zero, still lasts.
func lasts(until, now time.Time) bool { return until.IsZero() || !lapse.Over(until, now) }

// SetAdminState makes s what the operator wants of the lane before until; a zero until
// is without end. No timer runs: the gate opens as a cooldown does.
func (l *Lane) SetAdminState(s AdminState, until time.Time) {
	defer l.changed()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gates.admin = adminState{s, until}
}

// adminState returns what the operator wants of the lane at now.
func (l *Lane) adminState(now time.Time) AdminState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gates.admin.at(now)
}

// reset forgets what was learnt of the lane: its cooldowns, quarantines, breakers and
// skills. What the operator wants of it stays.
func (l *Lane) reset() {
	defer l.changed()
	l.forgetFailures()
	l.mu.Lock()
	defer l.mu.Unlock()
	admin := l.gates.admin
	l.gates.forget()
	l.gates.admin = admin
	l.backoff = time.Time{}
}

// forgetFailures closes the breakers, and forgets which forced tries have failed. The lane's
// mutex is not held: a breaker takes it inside its own.
func (l *Lane) forgetFailures() {
	for _, b := range l.breakers {
		b.reset()
	}
	l.forced.reset()
}

// ResetBreakers closes the lane's breakers and forgets what they have counted, and that
// the lane was in trouble.
func (l *Lane) ResetBreakers() {
	defer l.changed()
	l.forgetFailures()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gates.failback, l.gates.dialBackoff = failbackHold{}, dialBackoff{}
}

// ClearCooldowns ends the lane's cooldowns, those of single tags and digests too, also
// where the upstream itself named the time: to ask it sooner can use up a quota, or make
// a ban longer.
func (l *Lane) ClearCooldowns() {
	defer l.changed()
	l.forced.reset()
	l.mu.Lock()
	defer l.mu.Unlock()
	g := &l.gates
	g.cooldowns, g.limits = [pullchain.NumClasses]cooldown{}, spread{}
	g.contents.open(pullchain.BlameCooldown)
}

// LiftQuarantine ends the lane's quarantine, and that of single digests.
func (l *Lane) LiftQuarantine() {
	defer l.changed()
	l.forced.reset()
	l.mu.Lock()
	defer l.mu.Unlock()
	g := &l.gates
	g.quarantine, g.corruptions, g.corrupted = quarantine{}, spread{}, time.Time{}
	g.failback = failbackHold{}
	g.contents.open(pullchain.BlameQuarantine)
}

// open opens the gates of all subjects that such a failure has closed.
func (c contentGates) open(blame pullchain.Blame) {
	for s, gate := range c {
		if gate.cause.Reason.Blame() == blame {
			delete(c, s)
		}
	}
}

// Reset forgets what was learnt of l, one of the Balancer's lanes, so that it is asked
// again at once: for an operator that has put it right. What the operator wants of the
// lane stays.
func (b *Balancer) Reset(l *Lane) {
	l.reset()
	b.known.forget(l)
}

// PullableWithout reports whether some other lane than the one of that name may be asked
// for a tag now.
func (b *Balancer) PullableWithout(name string) bool {
	v := b.view()
	v.lanes = slices.DeleteFunc(v.lanes, func(l laneView) bool { return l.lane.Name() == name })
	return v.first(time.Now()) != nil
}

// Pin has the lane of that name asked before all others until then, whatever the Strategy
// says, as long as its gates are open; when it fails, or is at its limit of connections,
// the others follow as they would without it. The empty name ends the pin, and a zero
// until is without end. It goes on over reloads.
func (b *Balancer) Pin(name string, until time.Time) {
	b.prefer(func(p *preference) { p.pinned, p.pinnedUntil = name, until })
}

// Reorder has the lanes asked in the order of names until then, in place of the Strategy:
// lanes that are not named come last. No names bring the Strategy back, and a zero until is
// without end. It goes on over reloads.
func (b *Balancer) Reorder(names []string, until time.Time) {
	b.prefer(func(p *preference) { p.order, p.orderUntil = slices.Clone(names), until })
}

// prefer changes what the operator wants of the order, and what becomes of the lanes by it.
func (b *Balancer) prefer(change func(*preference)) {
	b.preferences.change(change)
	b.states.events.mu.Lock()
	defer b.states.events.mu.Unlock()
	b.states.look()
}

// Record tells of something that an operator did, or that has ended by itself. Registry
// and upstream are empty where it is about all of them.
func (e *Events) Record(registry, upstream string, o Override) {
	e.add(Event{Kind: KindOverride, Registry: registry, Upstream: upstream, Code: pullchain.CodeAdmin, Override: &o})
}

// preferences hold what the operator wants of a chain's order. They are of the chain and
// outlive its Balancers. Safe for concurrent use; each request reads them.
type preferences struct {
	mu  sync.Mutex // serialises changes
	now atomic.Pointer[preference]
}

// A preference is what the operator wants of the order in which lanes are asked. It is
// not changed once stored.
type preference struct {
	pinned      string // empty: none
	pinnedUntil time.Time
	order       []string // names, the first first; empty: as configured
	orderUntil  time.Time
}

// current returns the preference as it stands; the zero value is none.
func (p *preferences) current() preference {
	if now := p.now.Load(); now != nil {
		return *now
	}
	return preference{}
}

func (p *preferences) change(change func(*preference)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := p.current()
	change(&next)
	p.now.Store(&next)
}

// pins reports whether the lane of that name is pinned at now.
func (p *preference) pins(name string, now time.Time) bool {
	return p.pinned == name && name != "" && lasts(p.pinnedUntil, now)
}

// reorders reports whether there is an order of the operator's at now.
func (p *preference) reorders(now time.Time) bool {
	return len(p.order) > 0 && lasts(p.orderUntil, now)
}

// strategy returns the strategy at now: an order that the operator has typed is meant as it is.
func (p *preference) strategy(configured Strategy, now time.Time) Strategy {
	if p.reorders(now) {
		return Ordered
	}
	return configured
}

// place returns the place of the lane of that name in the order at now; index is the configured one.
func (p *preference) place(name string, index int, now time.Time) int {
	if !p.reorders(now) {
		return index
	}
	if i := slices.Index(p.order, name); i >= 0 {
		return i
	}
	return len(p.order) + index
}

// at returns the lane that is pinned at now and the operator's order, for people to see.
func (p *preference) at(now time.Time) (pinned string, order []string) {
	if p.pins(p.pinned, now) {
		pinned = p.pinned
	}
	if p.reorders(now) {
		order = slices.Clone(p.order)
	}
	return pinned, order
}
