package balancer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pullchain/pullchain"
)

// When every lane is closed on a guess, one try is made all the same, and once more after
// a moment's failure, so that a wrong guess is not an outage (fail open, docs/faults.md
// 7b.5 and F38; Envoy's panic threshold is the same idea, for all requests at once). A
// forcedTry sees to it that it is one: a request that comes while it runs waits for its
// outcome, and a lane that has just failed it is not asked again for the same for a
// moment. Else every client of an image would knock at a registry that is down.
type forcedTry struct {
	mu      sync.Mutex
	running chan struct{} // closed when the try under way has ended; nil when none is
	failed  time.Time
	err     error
}

const (
	graceTime   = 5 * time.Second // a forced success lets others follow
	graceStep   = graceTime / 50  // by which their successes make that longer: each step is a look at all lanes
	forcedPause = time.Second     // a forced failure stands for the requests that come right after
)

// forcedTries are the forced tries of a lane, one for each subject: what one image's
// has come to says nothing of another's. They are safe for concurrent use.
type forcedTries struct {
	mu sync.Mutex
	m  map[subject]*forcedTry
}

// of returns the forced try of s.
func (f *forcedTries) of(s subject) *forcedTry {
	f.mu.Lock()
	defer f.mu.Unlock()
	try := f.m[s]
	if try == nil {
		if len(f.m) >= subjectsKept { // those under way are known to the requests that wait for them
			clear(f.m)
		}
		try = &forcedTry{}
		f.m[s] = try
	}
	return try
}

func (f *forcedTries) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.m)
}

// take returns true if the caller is to make the try, and must call done. Else
// another request has made it: err is why it failed, or nil if it went well.
func (f *forcedTry) take(ctx context.Context) (bool, error) {
	f.mu.Lock()
	if running := f.running; running != nil {
		f.mu.Unlock()
		select {
		case <-running:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
		f.mu.Lock()
		err := f.err
		f.mu.Unlock()
		if canceled(err) {
			return f.take(ctx) // the client that it was made for went away: it says nothing
		}
		return false, err
	}
	defer f.mu.Unlock()
	if f.err != nil && !canceled(f.err) && time.Since(f.failed) < forcedPause {
		return false, f.err
	}
	f.running = make(chan struct{})
	return true, nil
}

// done ends the try that take began.
func (f *forcedTry) done(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.failed = err, time.Now()
	close(f.running)
	f.running = nil
}

// giveGrace lets requests past the gates that may be overridden for a while,
// because a forced try went well.
func (l *Lane) giveGrace() {
	defer l.changed()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gates.grace = time.Now().Add(graceTime)
}

// force makes the one try that is left when every gate is closed on a guess:
// first the lanes that may be down, then those that may be limited, soonest
// first (docs/faults.md 7b.5): a down upstream loses nothing by being asked, a limited one
// may extend its limit. It returns the winner, or nil.
func (b *Balancer) force(ctx context.Context, req pullchain.Request, log *attemptLog) *winner {
	return b.forceEach(ctx, req, forceOrder(log.closedGates()), log)
}

// askAgain forces the lanes that have not been asked because of a "no" that they said a
// while ago, where no other lane has it: that may be over, and a client would be told of
// it for longer than a registry that erred for a moment. A "no" of just now stands, unless
// what the others said is none: that error says nothing of the content.
func (b *Balancer) askAgain(ctx context.Context, req pullchain.Request, log *attemptLog) *winner {
	var lanes, old []*Lane
	failed, now := false, time.Now()
	for _, a := range log.recent() {
		switch reason := pullchain.ReasonOf(a.Err); {
		case a.Gate == gateAbsent:
			l := b.lane(a.Upstream)
			lanes = append(lanes, l)
			if _, fresh := b.known.absent(l, req, now); !fresh {
				old = append(old, l)
			}
		case reason != pullchain.NotFound && reason != pullchain.Denied:
			failed = true
		}
	}
	if !failed {
		lanes = old
	}
	return b.forceEach(ctx, req, lanes, log)
}

// forceEach makes a forced try at each of lanes, in order, until one answers.
func (b *Balancer) forceEach(ctx context.Context, req pullchain.Request, lanes []*Lane, log *attemptLog) *winner {
	for _, l := range lanes {
		try := l.forced.of(subjectOf(req))
		mine, err := try.take(ctx)
		if err != nil {
			if ctx.Err() == nil {
				log.notAsked(l, gateForced, asError(err))
			}
			continue
		}
		if !mine { // the try has gone well, so the lane is in its grace
			if won := b.race(ctx, req, []*Lane{l}, log); won != nil {
				return won
			}
			continue
		}
		v := l.view()
		gated := l.closedIn(&v, req, time.Now()) != nil
		won, err := b.forceOne(ctx, req, l, log)
		if again, ok := repeated(req, err); ok && ctx.Err() == nil {
			won, err = b.forceOne(ctx, again, l, log)
		}
		if outcome(err) == nil { // it answered, be it "no"
			if gated {
				l.giveGrace()
			}
			err = nil
		}
		try.done(err)
		if gated && !canceled(err) {
			b.states.events.add(Event{
				Kind: KindForced, Registry: b.registry, Upstream: l.Name(), Class: req.Class().String(), Code: pullchain.CodeOf(err),
			})
		}
		if won != nil {
			return won
		}
	}
	return nil
}

// gateForced is what those requests meet that come right after a forced try has
// failed.
const gateForced = "forced"

// forceOne asks l, whatever its gates guess.
func (b *Balancer) forceOne(ctx context.Context, req pullchain.Request, l *Lane, log *attemptLog) (*winner, error) {
	a, g := l.admit(req, true, false)
	if g != nil {
		return nil, g.err(time.Now())
	}
	r := newRace(ctx, b, req, log, 1)
	r.launch(l, a, false)
	won := r.finish(r.run(nil))
	switch {
	case won != nil || r.lastErr != nil:
		return won, r.lastErr
	case errors.Is(context.Cause(r.ctx), errOutOfTime):
		return nil, outOfTime(l)
	}
	return nil, errLost // it was called off
}

// canceled reports whether err says no more than that a try was called off.
func canceled(err error) bool {
	return errors.Is(err, errLost) || err != nil && pullchain.ReasonOf(err) == pullchain.Canceled
}

// forceOrder returns the lanes that may be forced, in the order in which to.
func forceOrder(gates []*closedGate) []*Lane {
	var down, limited []*closedGate
	for _, g := range gates {
		switch {
		case !g.overridable():
		case g.gate == gateCooldown, pullchain.ReasonOf(g.cause) == pullchain.Limited:
			limited = append(limited, g)
		default:
			down = append(down, g)
		}
	}
	slices.SortStableFunc(limited, func(a, b *closedGate) int { return a.until.Compare(b.until) })
	var lanes []*Lane
	for _, g := range append(down, limited...) {
		lanes = append(lanes, g.lane)
	}
	return lanes
}

// onceMore asks the first of lanes again that had a moment's failure: no other could
// serve, and a GET may be repeated. What works without us at the second try works through
// us at the first. A lane whose document is only labelled wrong goes before the others.
func (b *Balancer) onceMore(ctx context.Context, req pullchain.Request, lanes []*Lane, log *attemptLog) *winner {
	failed := make(map[string]error)
	for _, a := range log.recent() {
		if a.Gate == "" {
			failed[a.Upstream] = a.Err
		}
	}
	labelled := func(l *Lane) bool { return pullchain.CodeOf(failed[l.Name()]) == pullchain.CodeDigestMismatch }
	if i := slices.IndexFunc(lanes, labelled); i > 0 && req.Tag != "" {
		lanes = lanes[i:]
	}
	for _, l := range lanes {
		if again, ok := repeated(req, failed[l.Name()]); ok && ctx.Err() == nil {
			won, _ := b.forceOne(ctx, again, l, log)
			return won
		}
	}
	return nil
}

// repeated returns req as it is made once more after err, if that may help. A document by
// a tag is taken then whatever its header says, for which a HEAD is worth another try too.
func repeated(req pullchain.Request, err error) (pullchain.Request, bool) {
	e, ok := errorsAs(err)
	if !ok || !momentary(e) {
		return req, false
	}
	req.Options.AnyHeader = e.Code == pullchain.CodeDigestMismatch
	return req, !req.Head || req.Options.AnyHeader
}

// momentary reports whether e may well be over at the next try.
func momentary(e *pullchain.Error) bool {
	switch e.Code {
	case pullchain.CodeServerError, pullchain.CodeConnReset, pullchain.CodeTruncated, pullchain.CodeHTTP2, pullchain.CodeDigestMismatch, pullchain.CodeWrongSize:
		return e.RetryAfter == 0
	}
	return false
}
