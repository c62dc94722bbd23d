package warm

import (
	"cmp"
	"context"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/pullchain/pullchain/internal/guard"
	"github.com/pullchain/pullchain/internal/lapse"
)

// A Scheduler warms images again and again, as [[warm]] tables say: one image at a time,
// whatever they say, so that clients have the line to themselves. It begins a minute after
// it was told of a table, when the paths are known; what is there is not fetched again, so
// a restart costs a question for each tag. It is safe for concurrent use.
type Scheduler struct {
	opts Options
	wake chan struct{} // holds one: the plans have changed

	mu    sync.Mutex
	plans []*plan
}

// Options are what a Scheduler is made of.
type Options struct {
	// Pull warms one image. It reports false if ctx has ended it, which is no result.
	Pull func(ctx context.Context, c Config, img Image) (Result, bool)

	// Hold says why an image is not to be fetched now, in one of the words of
	// Result.Skipped, or nothing.
	Hold func(img Image) string

	Guard *guard.Guard // nil guards too, and tells of nothing
}

// Why an image was not fetched.
const (
	HeldMetered     = "metered"     // only a path that costs money could serve it
	HeldQuota       = "quota_low"   // only paths with little quota left could
	HeldUnreachable = "unreachable" // none could
)

const (
	firstAfter = time.Minute      // from a table's first sight to its first run
	retryAfter = 30 * time.Minute // from a run with images held back to the next, unless that comes sooner anyway
	jitter     = 0.1              // of every, at most: replicas that were started together do not stay together
)

// A Plan is a [[warm]] table and how it fares, as plain values.
type Plan struct {
	Images    []string   `json:"images"` // in full
	Platforms []string   `json:"platforms"`
	EveryS    int64      `json:"every_s"`
	Jobs      int        `json:"jobs"`
	Running   bool       `json:"running"`
	Next      *time.Time `json:"next"` // null while it runs
	Runs      uint64     `json:"runs"` // that have ended since the start of the process
	Last      *Run       `json:"last"` // null before the first has ended
}

// A Run is how it went with all images of a table.
type Run struct {
	At     time.Time `json:"at"` // it began
	TookS  float64   `json:"took_s"`
	OK     bool      `json:"ok"` // all of it is there, or was held back
	Images []Result  `json:"images"`
}

type plan struct {
	cfg     Config
	next    time.Time
	running bool
	runs    uint64
	last    *Run
}

// NewScheduler returns a Scheduler without tables.
func NewScheduler(o Options) *Scheduler { return &Scheduler{opts: o, wake: make(chan struct{}, 1)} }

// Set makes configs the tables. One that was there before keeps its time and its past.
func (s *Scheduler) Set(configs []Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.plans
	s.plans = nil
	for _, c := range configs {
		c = c.WithDefaults()
		i := slices.IndexFunc(old, func(p *plan) bool { return reflect.DeepEqual(p.cfg, c) })
		if i < 0 {
			s.plans = append(s.plans, &plan{cfg: c, next: time.Now().Add(firstAfter + spread(firstAfter))})
			continue
		}
		s.plans = append(s.plans, old[i])
		old = slices.Delete(slices.Clone(old), i, i+1) // a table that stands there twice is two
	}
	s.changed()
}

// RunNow makes all tables due, and returns how they stand.
func (s *Scheduler) RunNow() []Plan {
	s.mu.Lock()
	for _, p := range s.plans {
		p.next = time.Now()
	}
	s.changed()
	s.mu.Unlock()
	return s.Plans()
}

func (s *Scheduler) changed() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Plans returns how all tables stand, in their order.
func (s *Scheduler) Plans() []Plan {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, now := []Plan{}, time.Now() // and never null in JSON
	for _, p := range s.plans {
		one := Plan{Images: []string{}, Platforms: append([]string{}, p.cfg.Platforms...), EveryS: int64(p.cfg.Every.Seconds()), Jobs: p.cfg.Jobs, Running: p.running, Runs: p.runs, Last: p.last}
		for _, img := range p.cfg.images() {
			one.Images = append(one.Images, img.String())
		}
		if !p.running {
			next := lapse.Shown(p.next, now)
			one.Next = &next
		}
		out = append(out, one)
	}
	return out
}

// Run runs tables as they become due, until ctx is done.
func (s *Scheduler) Run(ctx context.Context) {
	s.opts.Guard.Loop(ctx, guard.Warm, func() bool {
		p, wait := s.due()
		if p != nil {
			s.run(ctx, p)
			return true
		}
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-s.wake:
		case <-ctx.Done():
		}
		return true
	})
}

const (
	idle = 24 * time.Hour // how long nothing is waited for where there is nothing to wait for

	// lookAgain is how long is waited at once for what is to come: a timer stands still
	// while the machine sleeps.
	lookAgain = time.Minute
)

// due takes the plan whose time has come, if there is one, else it tells how long
// that is from now.
func (s *Scheduler) due() (*plan, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.plans) == 0 {
		return nil, idle
	}
	now := time.Now()
	first := slices.MinFunc(s.plans, func(a, b *plan) int {
		return cmp.Or(cmp.Compare(lapse.Left(a.next, now), lapse.Left(b.next, now)), a.next.Compare(b.next))
	})
	if wait := lapse.Left(first.next, now); wait > 0 {
		return nil, min(wait, lookAgain)
	}
	first.running = true
	first.next = now.Add(first.cfg.Every) // RunNow may bring it forward while it runs
	return first, 0
}

// run warms the images of a plan, one after the other.
func (s *Scheduler) run(ctx context.Context, p *plan) {
	defer s.over(p) // also after a panic
	r := &Run{At: time.Now(), OK: true, Images: []Result{}}
	held := false
	for _, img := range p.cfg.images() {
		if why := s.opts.Hold(img); why != "" {
			r.Images = append(r.Images, Result{Image: img.String(), Skipped: why})
			held = true
			continue
		}
		var one Result
		done := true
		err := guard.Try(func() error { one, done = s.opts.Pull(ctx, p.cfg, img); return nil })
		if err != nil { // the other images have their turn all the same
			s.opts.Guard.Note(guard.Warm, err)
			one = Result{Image: img.String(), Err: err, Error: err.Error()}
		}
		if !done {
			break
		}
		r.Images = append(r.Images, one)
		r.OK = r.OK && one.OK
	}
	r.TookS = time.Since(r.At).Seconds()
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	p.last = r
	p.runs++
	pause := p.cfg.Every
	if held {
		pause = min(pause, retryAfter)
	}
	if now := time.Now(); !lapse.Over(p.next, now) {
		p.next = now.Add(pause + spread(time.Duration(jitter*float64(pause))))
	}
}

// over notes that a plan runs no more.
func (s *Scheduler) over(p *plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.running = false
}

// spread is some time up to d.
func spread(d time.Duration) time.Duration { return rand.N(cmp.Or(d, 1)) }
