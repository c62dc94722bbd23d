package balancer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pullchain/pullchain"
)

// When every lane is shut on a guess, one try is made all the same, so that a
// wrong guess is not an outage (fail open, FAULTS.md 7b.5 and F38). A forcedTry
// sees to it that it is one: whoever comes while it runs waits for its outcome,
// and a lane that has just failed it is not asked again for a moment.
type forcedTry struct {
	mu      sync.Mutex
	running chan struct{} // closed when the try under way has ended; nil when none is
	failed  time.Time
	err     error
}

const (
	vouchFor    = 5 * time.Second // a forced success lets others follow
	forcedPause = time.Second     // a forced failure stands for those who come right after
)

// take returns true if the caller is to make the try, and must call done. Else
// somebody else has made it: err is why it failed, or nil if it went well.
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
			return f.take(ctx) // whoever made the try went away: it says nothing
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

// vouch lets requests past the gates that guess for a while, because a forced
// try went well.
func (l *Lane) vouch() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.vouched = time.Now().Add(vouchFor)
}

func (l *Lane) isVouched(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return now.Before(l.vouched)
}

// force makes the one try that is left when every gate is shut on a guess:
// first the lanes that may be down, then those that may be limited, soonest
// first. It returns the answer, or nil.
func (b *Balancer) force(ctx context.Context, req pullchain.Request, t *trail) *answer {
	for _, l := range forceOrder(t.shuts()) {
		mine, err := l.forced.take(ctx)
		if err != nil {
			if ctx.Err() == nil {
				t.gate(l, gateForced, asError(err))
			}
			continue
		}
		if !mine {
			if won := b.race(ctx, req, []*Lane{l}, t); won != nil {
				return won
			}
			continue
		}
		won, err := b.forceOne(ctx, req, l, t)
		if outcome(err) == nil { // it answered, be it "no"
			l.vouch()
			err = nil
		}
		l.forced.done(err)
		if won != nil {
			return won
		}
	}
	return nil
}

// gateForced is what those meet who come right after a forced try has failed.
const gateForced = "forced"

// forceOne asks l, whatever its gates guess.
func (b *Balancer) forceOne(ctx context.Context, req pullchain.Request, l *Lane, t *trail) (*answer, error) {
	c, s := l.begin(req, true, false)
	if s != nil {
		return nil, s.err(time.Now())
	}
	r := newRace(ctx, b, req, t, 1)
	r.launch(l, c, false)
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

func forceOrder(shuts []*shut) []*Lane {
	var down, limited []*shut
	for _, s := range shuts {
		switch {
		case !s.guess():
		case s.gate == gateCooldown:
			limited = append(limited, s)
		default:
			down = append(down, s)
		}
	}
	slices.SortStableFunc(limited, func(a, b *shut) int { return a.until.Compare(b.until) })
	var lanes []*Lane
	for _, s := range append(down, limited...) {
		lanes = append(lanes, s.lane)
	}
	return lanes
}
