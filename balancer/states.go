package balancer

import (
	"sync/atomic"
	"time"
	"weak"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/lapse"
)

// The state words of a lane, the same in every place where people read them
// (docs/architecture.md, States of a lane). Quarantined is ours: wrong bytes are neither "down" nor "open".
const (
	StateServing     = "serving"  // the first that may be asked
	StateStandby     = "standby"  // may be asked, behind others
	StateDegraded    = "degraded" // may be asked, but something is wrong with it
	StateCooling     = "cooling"
	StateOpen        = "open"
	StateHalfOpen    = "half_open"
	StateDown        = "down"
	StateQuarantined = "quarantined"
	StateDrained     = "drained"
	StateDisabled    = "disabled"
	StateUnknown     = "unknown" // neither probed nor asked yet
)

// States are all the words.
var States = []string{
	StateServing, StateStandby, StateDegraded, StateCooling, StateOpen, StateHalfOpen, StateDown, StateQuarantined, StateDrained,
	StateDisabled, StateUnknown,
}

// chainStates is the state of each lane of a registry, and since when. It outlives
// the Balancers that a reload replaces. Its fields are guarded by the mutex of its
// events, but for first.
//
// The state of one lane depends on the others: the first that may be asked is
// serving, and that is another one when it closes. So all are worked out together,
// whenever something has happened to one of them, and together with what will become
// of them when nothing else happens: each gate that opens at a time is a moment at
// which to look again. That plan needs no timers, and when the next event or reader
// comes, what has become due meanwhile is recorded with its own time.
type chainStates struct {
	events   *Events
	registry string
	made     int       // how many Balancers there have been
	owner    *Balancer // whose lanes these are the states of
	states   map[*Lane]laneState
	plan     []planned            // in the order of time
	first    atomic.Pointer[Lane] // the lane that is asked for a tag first, as last worked out
}

// A laneState is the one word for all of a lane's gates.
type laneState struct {
	word  string
	since time.Time
	until *time.Time // when the gate that is closed opens; nil if that is not known
	code  pullchain.Code
	class string // that the gate is closed for
}

// A planned transition takes place unless something happens before.
type planned struct {
	due   time.Time
	event Event
	lane  *Lane
	state laneState
}

// of returns the states of b's registry.
func (e *Events) of(b *Balancer) *chainStates {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.chains[b.registry].Value()
	if c == nil {
		c = &chainStates{events: e, registry: b.registry}
		e.chains[b.registry] = weak.Make(c)
	}
	c.made++
	b.number = c.made
	if c.owner == nil { // before the lock is let go of: every registry is looked at when a shared egress changes
		c.adoptLocked(b)
	}
	return c
}

// adopt makes b's lanes the ones whose states are kept, when b is used for the first
// time. That is not when it is made: a reload makes Balancers and may then fail, and
// the old ones go on. Lanes that the owner before had as well keep their states. A
// Balancer that is used for the first time when a later one has been changes nothing.
func (c *chainStates) adopt(b *Balancer) {
	if b.adopted.Load() {
		return
	}
	c.events.mu.Lock()
	defer c.events.mu.Unlock()
	c.adoptLocked(b)
}

func (c *chainStates) adoptLocked(b *Balancer) {
	if b.adopted.Swap(true) || c.owner != nil && c.owner.number > b.number {
		return
	}
	now := time.Now()
	c.events.due(now)
	before := c.states
	c.owner, c.states = b, map[*Lane]laneState{}
	states := b.view().at(now)
	for i, l := range b.lanes {
		states[i].since = now
		c.states[l] = states[i]
		if state, ok := before[l]; ok {
			c.states[l] = state
		}
		l.chain.Store(c)
	}
	c.look()
}

// changed reports that something has happened to the lane that may have changed its
// gates. No lock of the lane is held.
func (l *Lane) changed() {
	c := l.chain.Load()
	if c == nil {
		return
	}
	v, seen := l.view(), l.seen.Load()
	if seen != nil && *seen == v {
		return
	}
	c.events.mu.Lock()
	defer c.events.mu.Unlock()
	if seen != nil && seen.egress != v.egress { // which lanes of other registries share
		for _, other := range c.events.live() {
			other.look()
		}
		return
	}
	c.look()
}

// noteFirst reports which lane has just been chosen first for a tag: with [Fastest]
// that depends on how fast the lanes have answered, of which no gate tells. With the
// others it follows from the gates; under [Spread] nearly every tag has another first
// lane, and a look for each would hold up all registries.
func (c *chainStates) noteFirst(l *Lane) {
	if c.first.Load() == l {
		return
	}
	c.events.mu.Lock()
	defer c.events.mu.Unlock()
	c.look()
}

// look records what has become of the lanes since the last look, and plans what is
// to come. It returns the lanes as they stand, and what their states were worked out
// for. The mutex of the events is held.
func (c *chainStates) look() (*chainView, time.Time) {
	now := time.Now()
	c.events.due(now)
	v := c.owner.view()
	for i, state := range v.at(now) {
		l := v.lanes[i].lane
		was := c.states[l]
		state.since = was.since
		if state.word != was.word {
			state.since = now
			c.events.appendLocked(c.transition(l, was, state))
		}
		c.states[l] = state
		l.seen.Store(&v.lanes[i].gates)
	}
	c.first.Store(v.first(now))
	next := c.events.nextDue()
	c.plan = c.planFrom(v, now)
	if c.events.nextDue() != next {
		c.events.wakeLocked() // for a reader that waits for an end by time
	}
	return v, now
}

// standing returns b's lanes as they stand, and their states at the time that comes
// with them. Since is not known for lanes of a Balancer that another has replaced.
func (c *chainStates) standing(b *Balancer) (*chainView, []laneState, time.Time) {
	c.events.mu.Lock()
	defer c.events.mu.Unlock()
	v, now := c.look()
	if c.owner != b {
		v = b.view()
		return v, v.at(now), now
	}
	states := make([]laneState, len(v.lanes))
	for i := range v.lanes {
		states[i] = c.states[v.lanes[i].lane]
	}
	return v, states, now
}

// planFrom returns the transitions after now that time alone brings about.
func (c *chainStates) planFrom(v *chainView, now time.Time) []planned {
	var plan []planned
	states := make([]laneState, len(v.lanes))
	for i := range v.lanes {
		states[i] = c.states[v.lanes[i].lane]
	}
	for _, t := range v.turns(now) {
		for i, state := range v.at(t.at) {
			if state.word == states[i].word {
				continue
			}
			state.since = t.at
			plan = append(plan, planned{t.due, c.transition(v.lanes[i].lane, states[i], state), v.lanes[i].lane, state})
			states[i] = state
		}
	}
	return plan
}

func (c *chainStates) transition(l *Lane, from, to laneState) Event {
	return Event{
		At: to.since, Kind: KindTransition, Registry: c.registry, Upstream: l.Name(),
		From: from.word, To: to.word, Until: to.until, Code: to.code, Class: to.class,
	}
}

// shown is stamp for what is to come.
func shown(until, now time.Time) *time.Time { return stamp(lapse.Shown(until, now)) }

func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
