package healthcheck

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// firstSpread is the time over which the first probes are spread.
	firstSpread = time.Second

	// idleAfter is how long the last traffic still counts as clients being there.
	idleAfter = 5 * time.Minute

	// urgentProbes is how many failed probes in a row are worth an urgent next
	// one. A Target that is still down after those may be so for days, and is
	// then probed at the pace of the others.
	urgentProbes = 12

	// jitter is the share by which an interval varies to either side.
	jitter = 0.2
)

// A watch is one Target, its schedule and its record.
type watch struct {
	target Target
	cfg    Config
	kind   func(error) string
	busy   chan struct{} // full while a probe is under way: they are never two
	hurry  chan struct{} // full when the next probe is not to wait for its time

	mu     sync.Mutex
	record record
	last   time.Time // of the last probe, or of the last that was skipped
	factor float64   // the jitter of the interval that runs since then
	next   time.Time // when the next is due, as the pace stands
}

// adopt takes over what previous knows of the same Target.
func (w *watch) adopt(previous *Checker) {
	for _, old := range previous.watches {
		if old.target != w.target {
			continue
		}
		old.mu.Lock()
		defer old.mu.Unlock()
		w.record = old.record.clone()
		w.last, w.factor, w.next = old.last, old.factor, old.next
		return
	}
}

// fresh reports whether w was never probed.
func (w *watch) fresh() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last.IsZero()
}

// hasten has the next probe come now, unless there was none yet: the first ones come by
// themselves.
func (w *watch) hasten() {
	if w.fresh() {
		return
	}
	select {
	case w.hurry <- struct{}{}:
	default: // it comes already
	}
}

// sleep waits for d, and reports whether it was woken before to probe at once.
func (w *watch) sleep(ctx context.Context, d time.Duration) (hurried bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-w.hurry:
		return true
	}
	return false
}

// healthy reports whether the last probe passed and w is up.
func (w *watch) healthy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.record.healthy()
}

// schedule works out when w is due at the pace as it now stands, and returns
// how long that is from now; 0 or less means now.
func (w *watch) schedule(urgent, active bool) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last.IsZero() {
		return 0
	}
	base := w.interval(urgent, active)
	w.next = w.last.Add(time.Duration(float64(base) * w.factor))
	return time.Until(w.next)
}

// interval returns the interval of the pace before jitter. w.mu is held.
func (w *watch) interval(urgent, active bool) time.Duration {
	waitedFor := urgent || w.record.known && !w.record.healthy()
	switch {
	case waitedFor && w.record.falling <= urgentProbes:
		return w.cfg.UrgentInterval
	case active:
		return w.cfg.Interval
	}
	return w.cfg.IdleInterval
}

// skip lets this turn pass without a probe.
func (w *watch) skip() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turnLocked()
}

// turnLocked begins a new interval. w.mu is held.
func (w *watch) turnLocked() {
	w.last = time.Now()
	w.factor = 1 - jitter + 2*jitter*rand.Float64()
}

// probe probes the Target, counts the outcome and tells the Target. A probe
// that ctx cut short says nothing of the Target and is not counted; then the
// error is ctx's. Nor is one that the Target did not make; then it is the Target's.
func (w *watch) probe(ctx context.Context) (Result, error) {
	select {
	case w.busy <- struct{}{}:
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
	defer func() { <-w.busy }()

	start := time.Now()
	err := w.attempt(ctx)
	if err != nil && ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	if skipped(err) {
		w.skip()
		return Result{}, err
	}
	r := result(start, err)
	w.target.SetProbeResult(w.count(r, err, time.Since(start)), err)
	return r, nil
}

// attempt is one probe within its time-out.
func (w *watch) attempt(ctx context.Context) error {
	pctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	err := w.target.Probe(pctx)
	if err != nil && pctx.Err() != nil {
		return fmt.Errorf("no answer within %v: %w", w.cfg.Timeout, err)
	}
	return err
}

// count enters r, which took that long, in the record and returns whether the Target counts as up now.
func (w *watch) count(r Result, err error, took time.Duration) (up bool) {
	kind := ""
	if err != nil && w.kind != nil {
		kind = w.kind(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turnLocked()
	w.record.add(r, w.cfg)
	w.record.counts.add(kind, err, took)
	return w.record.up
}

// firstDelay spreads the first probes of n targets over a second, target i in
// the i-th part of it.
func firstDelay(i, n int) time.Duration {
	slot := firstSpread / time.Duration(n)
	return time.Duration(i)*slot + rand.N(slot+1)
}
