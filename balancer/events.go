package balancer

import (
	"context"
	"slices"
	"sync"
	"time"
	"weak"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/lapse"
)

// An EventKind says what an Event tells of.
type EventKind string

// The kinds.
const (
	KindTransition EventKind = "transition" // a lane went from one state to another
	KindFailover   EventKind = "failover"   // another lane served than the first one asked
	KindForced     EventKind = "forced"     // a lane was tried although its gates are closed on a guess
	KindOverride   EventKind = "override"   // an operator has done something, or what was done has ended
)

// An Event is something that happened to a lane. Fields that its kind does not
// have are zero.
type Event struct {
	Seq      uint64    `json:"seq"` // greater than that of every earlier event
	At       time.Time `json:"at"`
	Kind     EventKind `json:"kind"`
	Registry string    `json:"registry"` // empty where an operator's action is about all of them
	Upstream string    `json:"upstream"` // of a failover: the one that failed; empty where an operator's action is about all of them

	From  string         `json:"from"`  // of a transition: the state before, one of the State words
	To    string         `json:"to"`    // of a transition: the state since At
	Until *time.Time     `json:"until"` // of a transition: when it ends by itself, if that is known
	Code  pullchain.Code `json:"code"`  // why: of the failure behind it; empty for a forced try that was answered
	Class string         `json:"class"` // of a transition: what the gate is closed for; of a forced try: what was asked

	Failover *Failover `json:"failover"`
	Override *Override `json:"override"`
}

// A Failover is one request that another upstream answered than the first one
// asked, for people to read.
type Failover struct {
	At       time.Time      `json:"at"`
	Registry string         `json:"registry"`
	From     string         `json:"from"`
	To       string         `json:"to"`
	Phase    string         `json:"phase"` // manifest, blob_start, blob_mid
	Code     pullchain.Code `json:"code"`
	Offset   int64          `json:"offset"`
	AddedMS  int64          `json:"added_ms"` // between the first try and the one that served
	Image    string         `json:"image"`
}

// An Override is what an operator did, or what has ended because its time was over.
type Override struct {
	Action string     `json:"action"` // "drain", "pin"…
	Order  []string   `json:"order,omitempty"`
	Actor  string     `json:"actor,omitempty"`
	Reason string     `json:"reason,omitempty"`
	Until  *time.Time `json:"until,omitempty"` // when it ends by itself; none for what has no end
	Ended  bool       `json:"ended,omitempty"` // it was the time that ended it
}

// eventsKept is how many of the last events are kept, of each kind and for each
// registry, and of transitions for each lane: a mirror that lacks what is asked for makes a failover of every pull,
// and must not wash away what happened elsewhere.
const eventsKept = 100

// Events is a bounded record of what happened to lanes, for any number of
// registries. Readers take from it what they have not seen, by number, and may wait
// for more; it calls no reader, and none holds it up.
//
// Events are in the order of time, by Seq and by At. That takes care where a state
// ends by itself, as a cooldown does: no timer runs for it. What will end and when
// is worked out at the last change, and each end that is past is recorded, with the
// time at which it came, before anything else is: when the next event comes, or a
// reader looks. A reader that waits is woken for it.
//
// Numbers begin at the time of day at which the Events were made, in microseconds,
// so those of an earlier process are smaller, and a reader that comes back with one
// learns that it has missed something. They fit into the 53 bits of a JavaScript
// number until the year 2255.
//
// It is safe for concurrent use.
type Events struct {
	mu      sync.Mutex // held while lanes are looked at, so never taken while holding a lane's
	first   uint64     // no event has this number or a smaller one
	last    uint64     // of the newest event
	dropped uint64     // of the newest event that is no longer kept
	logs    map[eventKey]*eventLog
	wake    chan struct{} // closed when there is an event, or another end to wait for

	// Weak, because nothing tells when a registry is gone from the configuration:
	// its states live as long as its Balancer and its Lanes do.
	chains map[string]weak.Pointer[chainStates]
}

type eventKey struct {
	registry string
	upstream string // of transitions: a lane that comes and goes must not wash away the others'
	kind     EventKind
}

// An eventLog is the last events of one key, oldest first.
type eventLog struct {
	events []Event
	total  uint64
}

// NewEvents returns Events without any.
func NewEvents() *Events {
	first := uint64(max(time.Now().UnixMicro(), 0))
	return &Events{
		first: first, last: first,
		logs:   map[eventKey]*eventLog{},
		chains: map[string]weak.Pointer[chainStates]{},
		wake:   make(chan struct{}),
	}
}

// Since returns the events with a number greater than seq, oldest first, and the
// number to go on from. lost says that some of those after seq are no longer kept,
// or that seq is of another process: then a [Snapshot] says how things stand. To
// begin with seq is 0, for all that are kept.
func (e *Events) Since(seq uint64) (events []Event, next uint64, lost bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.due(time.Now())
	lost = seq < e.dropped || seq > e.last || seq != 0 && seq < e.first
	if seq > e.last {
		seq = 0
	}
	for _, log := range e.logs {
		i, _ := slices.BinarySearchFunc(log.events, seq+1, func(a Event, n uint64) int { return compareSeq(a.Seq, n) })
		events = append(events, log.events[i:]...)
	}
	slices.SortFunc(events, func(a, b Event) int { return compareSeq(a.Seq, b.Seq) })
	return events, e.last, lost
}

// Last returns the number of the newest event.
func (e *Events) Last() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.due(time.Now())
	return e.last
}

func compareSeq(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Wait returns nil once there is an event with a number greater than seq, or ctx's
// error. It returns at once for a seq of another process.
func (e *Events) Wait(ctx context.Context, seq uint64) error {
	for {
		now := time.Now()
		last, wake, next := e.waitFor(now)
		if last != seq {
			return nil
		}
		if err := wait(ctx, wake, next, now); err != nil {
			return err
		}
	}
}

// waitFor returns the number of the newest event, and what a reader that has seen it
// waits for.
func (e *Events) waitFor(now time.Time) (last uint64, wake <-chan struct{}, next time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock() // also after a panic: a reader must not hold up the lanes
	e.due(now)
	return e.last, e.wake, e.nextDue()
}

// wait waits for wake, or for the time next if that is not zero.
func wait(ctx context.Context, wake <-chan struct{}, next, now time.Time) error {
	var timer <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(lapse.Left(next, now))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-wake:
	case <-timer:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// add records ev as of now.
func (e *Events) add(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ev.At = time.Now()
	if ev.Failover != nil {
		ev.Failover.At = ev.At
	}
	e.due(ev.At)
	e.appendLocked(ev)
}

// appendLocked numbers ev and keeps it. Its time is not before that of the last one.
func (e *Events) appendLocked(ev Event) {
	e.last++
	ev.Seq = e.last
	key := eventKey{registry: ev.Registry, kind: ev.Kind}
	if ev.Kind == KindTransition {
		key.upstream = ev.Upstream
	}
	log := e.logs[key]
	if log == nil {
		log = &eventLog{}
		e.logs[key] = log
	}
	log.total++
	log.events = append(log.events, ev)
	if extra := len(log.events) - eventsKept; extra > 0 {
		e.dropped = max(e.dropped, log.events[extra-1].Seq)
		log.events = slices.Delete(log.events, 0, extra)
	}
	e.wakeLocked()
}

// Retain forgets what happened to lanes and registries that known does not report, so that
// names which come and go with configurations do not pile up. The upstream is empty for what
// is about a registry; what is about all of them stays. A reader that is behind learns that
// it has missed something.
func (e *Events) Retain(known func(registry, upstream string) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, log := range e.logs {
		if key.registry != "" && !known(key.registry, key.upstream) {
			e.dropped = max(e.dropped, log.events[len(log.events)-1].Seq)
			delete(e.logs, key)
		}
	}
}

func (e *Events) wakeLocked() {
	close(e.wake)
	e.wake = make(chan struct{})
}

// due records the ends by time that are not after now, over all registries in the
// order of time. It comes before anything else is recorded or read, so that Seq and At
// agree although no end is recorded when it comes.
func (e *Events) due(now time.Time) {
	for {
		var first *chainStates
		for _, c := range e.live() {
			if len(c.plan) > 0 && lapse.Over(c.plan[0].due, now) && (first == nil || c.plan[0].due.Before(first.plan[0].due)) {
				first = c
			}
		}
		if first == nil {
			return
		}
		p := first.plan[0]
		first.plan = first.plan[1:]
		first.states[p.lane] = p.state
		e.appendLocked(p.event)
	}
}

// nextDue is when the next state ends by time; zero if none does.
func (e *Events) nextDue() time.Time {
	var next time.Time
	for _, c := range e.live() {
		if len(c.plan) > 0 && (next.IsZero() || c.plan[0].due.Before(next)) {
			next = c.plan[0].due
		}
	}
	return next
}

// live returns the states of the registries that there still are.
func (e *Events) live() []*chainStates {
	var chains []*chainStates
	for registry, p := range e.chains {
		if c := p.Value(); c != nil {
			chains = append(chains, c)
		} else {
			delete(e.chains, registry)
		}
	}
	return chains
}

// failovers returns the failovers of a registry that are kept, the newest first, and
// how many there were in all.
func (e *Events) failovers(registry string) ([]Failover, uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	log := e.logs[eventKey{registry: registry, kind: KindFailover}]
	if log == nil {
		return nil, 0
	}
	out := make([]Failover, 0, len(log.events))
	for _, ev := range slices.Backward(log.events) {
		out = append(out, *ev.Failover)
	}
	return out, log.total
}

// transitionsShown is how many of a lane's last transitions its snapshot has.
const transitionsShown = 20

// transitions returns the last ones of a lane, the newest first.
func (e *Events) transitions(registry, upstream string) []Transition {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := []Transition{} // and never null in JSON
	log := e.logs[eventKey{registry, upstream, KindTransition}]
	if log == nil {
		return out
	}
	for _, ev := range slices.Backward(log.events) {
		if len(out) == transitionsShown {
			break
		}
		out = append(out, Transition{ev.At, ev.From, ev.To, ev.Until, ev.Code})
	}
	return out
}
