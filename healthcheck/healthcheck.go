// Package healthcheck probes things on a schedule, judges them up or down by
// rise and fall, and remembers how the probes went. It knows nothing of
// registries: a [Target] is anything that has a Probe.
//
// A [Checker] watches targets that stand in for one another, as the upstreams
// of one registry do: real traffic on any of them means that clients are there,
// and the others are probed at the full pace too; with no traffic at all the
// pace drops to the idle one. Build one Checker for each such set.
//
// It acts on nothing. A Target is told its state and does with it what it likes.
package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A Target can be probed. All methods must be safe for concurrent use. The
// dynamic type must be comparable, for [New] to know a Target again.
type Target interface {
	// Name identifies the Target within its Checker.
	Name() string

	// Probe asks once. It must return soon after ctx is done. An error with a method
	// Skipped() bool that returns true says that nothing was asked: then nothing is
	// counted, and the Target's turn is over.
	Probe(ctx context.Context) error

	// SetProbeResult is called after each probe that counts, never by two
	// goroutines at once: whether the Target now counts as up, and what the probe
	// returned. A Target that has not been told yet counts as up.
	SetProbeResult(up bool, err error)

	// Pace says how soon the next probe is wanted. quiet: real traffic proves
	// the Target, so probes may be skipped. urgent: its recovery is waited
	// for. It is asked every few seconds and must not block.
	Pace() (quiet, urgent bool)
}

// A Job is a Target and how to probe it.
type Job struct {
	Target Target
	Config Config

	// Kind names the kind of a failure, for [Counts]. There must be few. If it is nil
	// all are of one kind, which has no name.
	Kind func(error) string
}

// A Result is the outcome of one probe.
type Result struct {
	At     time.Time `json:"at"`              // when the probe began
	TookMS float64   `json:"took_ms"`         // milliseconds until its answer
	Error  string    `json:"error,omitempty"` // empty if it passed; at most 256 bytes
}

// OK reports whether the probe passed.
func (r Result) OK() bool { return r.Error == "" }

// ErrUnknown is what Check returns for a name that no Target has.
var ErrUnknown = errors.New("no such target")

// A Checker probes a fixed set of targets. To change the set build a new one
// with [New] and give it the old. It is safe for concurrent use.
type Checker struct {
	watches []*watch

	mu      sync.Mutex
	traffic time.Time // when a Target last showed real traffic; begins as the time of New
}

// New returns a Checker of jobs, whose names should differ. Targets that
// previous watches too, the very same values, keep their state, their history
// and their place in the schedule. previous may be nil, or still running.
func New(jobs []Job, previous *Checker) *Checker {
	c := &Checker{traffic: time.Now()}
	for _, j := range jobs {
		w := &watch{target: j.Target, cfg: j.Config.WithDefaults(), kind: j.Kind, busy: make(chan struct{}, 1), hurry: make(chan struct{}, 1)}
		w.record.up = true
		if previous != nil {
			w.adopt(previous)
		}
		c.watches = append(c.watches, w)
	}
	if previous != nil {
		c.traffic = previous.lastTraffic()
	}
	return c
}

// Run probes every Target on its own schedule until ctx is done. It returns
// when every probe has stopped. Call it once.
func (c *Checker) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for i, w := range c.watches {
		wg.Go(func() {
			if w.fresh() && !sleep(ctx, firstDelay(i, len(c.watches))) {
				return
			}
			for c.step(ctx, w) {
			}
		})
	}
	wg.Wait()
}

// step probes w if that is due, else sleeps for a while. It reports whether to
// go on. It never sleeps longer than the urgent interval, because a Target says
// only when asked that it has become urgent.
func (c *Checker) step(ctx context.Context, w *watch) bool {
	quiet, urgent := w.target.Pace()
	active := c.noteTraffic(quiet)
	hurried := false
	if wait := w.schedule(urgent, active); wait > 0 {
		if hurried = w.sleep(ctx, min(wait, w.cfg.UrgentInterval)); !hurried {
			return ctx.Err() == nil
		}
	}
	if !hurried && quiet && !urgent && w.healthy() {
		w.skip()
		return true
	}
	_, err := w.probe(ctx)
	return err == nil || skipped(err)
}

// skipped reports whether err says that a probe was not made.
func skipped(err error) bool {
	var s interface{ Skipped() bool }
	return errors.As(err, &s) && s.Skipped()
}

// Hurry has every Target probed now that Run watches, whatever the schedule says. It is
// for when something has been seen that may concern all of them. It does not wait for
// the probes.
func (c *Checker) Hurry() {
	for _, w := range c.watches {
		w.hasten()
	}
}

// Check probes the Target called name now, whatever the schedule says, and
// counts the outcome like any other. It waits for a probe that is under way and
// then begins its own. The error is [ErrUnknown], ctx's, or that of a Target which wants
// no probe, and then nothing was counted; a failed probe is told by the Result.
func (c *Checker) Check(ctx context.Context, name string) (Result, error) {
	for _, w := range c.watches {
		if w.target.Name() == name {
			return w.probe(ctx)
		}
	}
	return Result{}, fmt.Errorf("%w: %q", ErrUnknown, name)
}

// noteTraffic remembers traffic, if there is any now, and reports whether there
// was some lately.
func (c *Checker) noteTraffic(now bool) (active bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now {
		c.traffic = time.Now()
	}
	return time.Since(c.traffic) < idleAfter
}

func (c *Checker) lastTraffic() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.traffic
}

// sleep waits for d. It reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
