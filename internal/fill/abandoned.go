package fill

import (
	"slices"
	"sync"
	"time"
)

// What no reader waits for goes on within a budget (docs/faults.md F31, F49), for most
// clients that hang up come back: one that pulls again finds more of the blob here.
// What is over the budget is suspended: its bytes are kept, its files and
// connections are free.
const (
	// abandonedTime is within how much of it the rest must come, as fast as it has come
	// since the last reader left; abandonedGrace is what is looked at first.
	abandonedTime  = 60 * time.Second
	abandonedGrace = 2 * time.Second

	// How many may go on at once, and from one upstream. The oldest makes room.
	maxAbandoned            = 32
	maxAbandonedPerUpstream = 8
)

// An abandonment is the time of a fill without a reader. It is guarded by the fill's mutex.
type abandonment struct {
	f     *fill
	since time.Time // zero while there are readers
	base  int64     // bytes received by then
	over  bool      // it is to go on no longer
}

// begin begins the time without a reader, if the last one has left a fill that goes on.
// It returns the fills that have to end for it.
func (a *abandonment) begin() (evicted []*fill) {
	f := a.f
	if len(f.readers) > 0 || f.phase.final() || !f.plan.goesOn() {
		return nil
	}
	a.since, a.base = time.Now(), f.plan.rampUp.bytes
	return f.fills.abandoned.add(f, f.plan.upstreams())
}

// end ends it, for a reader has come.
func (a *abandonment) end() {
	if !a.since.IsZero() {
		a.since, a.over = time.Time{}, false
		a.f.fills.abandoned.remove(a.f)
	}
}

// look has a fill without a reader suspended that has spent its budget, or whose
// connections a client waits for. It returns what begin does.
func (a *abandonment) look(now time.Time) (evicted []*fill) {
	f := a.f
	if a.since.IsZero() && len(f.readers) == 0 { // when the last one left it was not known that it would go on
		evicted = a.begin()
	}
	if a.since.IsZero() || a.over {
		return evicted
	}
	awaited := func(u upstreamOf) bool { return f.reg.Waits != nil && f.reg.Waits(u.name) }
	if slices.ContainsFunc(f.plan.upstreams(), awaited) || a.spent(now, f.plan.rampUp.bytes, f.copy.missing()) {
		a.suspend()
	}
	return evicted
}

// spent reports whether the budget is spent of a fill that has received so many bytes
// and lacks so many.
func (a *abandonment) spent(now time.Time, received, missing int64) bool {
	took := now.Sub(a.since)
	if took < abandonedGrace {
		return false
	}
	rate := float64(received-a.base) / took.Seconds()
	return float64(missing) > rate*(abandonedTime-took).Seconds()
}

// suspend has the fill end, unless a reader has come.
func (a *abandonment) suspend() {
	if !a.since.IsZero() {
		a.over = true
		a.f.changes.notify()
	}
}

// suspend ends fills that have no reader, if that is still so.
func suspend(fills []*fill) {
	for _, f := range fills {
		f.mu.Lock()
		f.abandonment.suspend()
		f.mu.Unlock()
	}
}

// An upstreamOf is an upstream of a registry.
type upstreamOf struct{ registry, name string }

// abandonedFills are the fills without a reader, oldest first. It is safe for concurrent
// use; its mutex is taken inside those of fills.
type abandonedFills struct {
	mu  sync.Mutex
	all []abandonedFill
}

type abandonedFill struct {
	f         *fill
	upstreams []upstreamOf
}

func (a abandonedFill) uses(u upstreamOf) bool { return slices.Contains(a.upstreams, u) }

// add takes in f, which fetches from upstreams, and returns those that are too many with
// it: they are in the list no longer.
func (s *abandonedFills) add(f *fill, upstreams []upstreamOf) (evicted []*fill) {
	s.mu.Lock()
	defer s.mu.Unlock()
	drop := func(i int) {
		evicted = append(evicted, s.all[i].f)
		s.all = slices.Delete(s.all, i, i+1)
	}
	for _, u := range upstreams {
		uses := func(a abandonedFill) bool { return a.uses(u) }
		n := 0
		for _, a := range s.all {
			if uses(a) {
				n++
			}
		}
		if n >= maxAbandonedPerUpstream {
			drop(slices.IndexFunc(s.all, uses))
		}
	}
	if len(s.all) >= maxAbandoned {
		drop(0)
	}
	s.all = append(s.all, abandonedFill{f, upstreams})
	return evicted
}

// remove takes out f, if it is there.
func (s *abandonedFills) remove(f *fill) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.DeleteFunc(s.all, func(a abandonedFill) bool { return a.f == f })
}

// count returns how many there are.
func (s *abandonedFills) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}
