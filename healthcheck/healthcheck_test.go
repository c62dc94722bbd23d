package healthcheck_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/healthcheck"
	"github.com/pullchain/pullchain/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// fake is a Target that records when it was probed and what it was told.
type fake struct {
	name  string
	probe func(ctx context.Context, n int) error // n counts probes from 1; nil passes
	pace  func() (quiet, urgent bool)            // nil is neither

	mu       sync.Mutex
	times    []time.Time
	verdicts []bool
	errs     []error
}

func (f *fake) Name() string { return f.name }

func (f *fake) Probe(ctx context.Context) error {
	f.mu.Lock()
	f.times = append(f.times, time.Now())
	n := len(f.times)
	f.mu.Unlock()
	if f.probe == nil {
		return nil
	}
	return f.probe(ctx, n)
}

func (f *fake) SetProbeResult(up bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verdicts = append(f.verdicts, up)
	f.errs = append(f.errs, err)
}

func (f *fake) Pace() (quiet, urgent bool) {
	if f.pace == nil {
		return false, false
	}
	return f.pace()
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.times)
}

// gaps returns the times between the probes.
func (f *fake) gaps() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []time.Duration
	for i := 1; i < len(f.times); i++ {
		out = append(out, f.times[i].Sub(f.times[i-1]))
	}
	return out
}

// run runs a Checker for d of the bubble's time and waits until it has stopped.
func run(t *testing.T, c *healthcheck.Checker, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	c.Run(ctx)
}

func jobs(cfg healthcheck.Config, targets ...*fake) []healthcheck.Job {
	var out []healthcheck.Job
	for _, f := range targets {
		out = append(out, healthcheck.Job{Target: f, Config: cfg})
	}
	return out
}

var errDown = errors.New("connection refused")

// script fails the probes whose letter is 'x' and passes the others; the last
// letter stands for all that follow.
func script(s string) func(context.Context, int) error {
	return func(_ context.Context, n int) error {
		if s[min(n, len(s))-1] == 'x' {
			return errDown
		}
		return nil
	}
}

func TestRiseAndFall(t *testing.T) {
	tests := []struct {
		name     string
		cfg      healthcheck.Config
		probes   string
		verdicts string // after each probe: u or d
	}{
		{"up from the start", healthcheck.Config{}, "....", "uuuu"},
		{"two failures are not three", healthcheck.Config{}, "xx.xx.", "uuuuuu"},
		{"three take it down", healthcheck.Config{}, ".xxxx", "uuudd"},
		{"never seen up", healthcheck.Config{}, "xxx", "uud"},
		{"two bring it up", healthcheck.Config{}, "xxx..x", "uudduu"},
		{"one pass is not two", healthcheck.Config{}, "xxx.x.x..", "uuddddddu"},
		{"one and one", healthcheck.Config{Rise: 1, Fall: 1}, "x.x.", "dudu"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := &fake{name: "a", probe: script(tt.probes)}
			c := healthcheck.New(jobs(tt.cfg, f), nil)
			for range tt.probes {
				if _, err := c.Check(t.Context(), "a"); err != nil {
					t.Fatal(err)
				}
			}
			got := ""
			for _, up := range f.verdicts {
				got += map[bool]string{true: "u", false: "d"}[up]
			}
			if got != tt.verdicts {
				t.Errorf("probes %s: verdicts %s, want %s", tt.probes, got, tt.verdicts)
			}
		})
	}
}

func TestVerdictCarriesTheProbesError(t *testing.T) {
	t.Parallel()
	f := &fake{name: "a", probe: script("x.")}
	c := healthcheck.New(jobs(healthcheck.Config{}, f), nil)
	for range 2 {
		if _, err := c.Check(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if !errors.Is(f.errs[0], errDown) || f.errs[1] != nil {
		t.Errorf("SetProbeResult was given %v, want the failure and then nil", f.errs)
	}
}

func TestSnapshotCountsTowardsTheNextVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{name: "a", probe: script("xxx.")}
		c := healthcheck.New(jobs(healthcheck.Config{}, f), nil)
		start := time.Now()

		unknown := c.Snapshot()[0]
		want := healthcheck.TargetSnapshot{Name: "a", Up: true, Rise: 2, Fall: 3, History: []healthcheck.Result{}}
		if d := cmp.Diff(want, unknown); d != "" {
			t.Errorf("before the first probe (-want +got):\n%s", d)
		}

		type state struct {
			Up              bool
			Rising, Falling int
			Since           time.Time
		}
		var got []state
		for range 5 {
			if _, err := c.Check(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			s := c.Snapshot()[0]
			got = append(got, state{s.Up, s.Rising, s.Falling, s.Since})
			time.Sleep(time.Minute)
		}
		states := []state{
			{true, 0, 1, start},
			{true, 0, 2, start},
			{false, 0, 3, start.Add(2 * time.Minute)},
			{false, 1, 0, start.Add(2 * time.Minute)},
			{true, 0, 0, start.Add(4 * time.Minute)},
		}
		if d := cmp.Diff(states, got); d != "" {
			t.Errorf("states (-want +got):\n%s", d)
		}
	})
}

func TestProbeThatHangsIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{name: "a", probe: func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		c := healthcheck.New(jobs(healthcheck.Config{Timeout: 3 * time.Second, Fall: 1}, f), nil)
		r, err := c.Check(t.Context(), "a")
		if err != nil {
			t.Fatalf("Check: %v", err)
		}
		if r.TookMS != 3000 || !strings.Contains(r.Error, "no answer within 3s") {
			t.Errorf("result %+v, want a failure after 3000 ms that says so", r)
		}
		if s := c.Snapshot()[0]; s.Up {
			t.Error("still up after fall=1 time-outs")
		}
	})
}

func TestLongErrorIsCut(t *testing.T) {
	t.Parallel()
	f := &fake{name: "a", probe: func(context.Context, int) error { return errors.New(strings.Repeat("é", 1000)) }}
	c := healthcheck.New(jobs(healthcheck.Config{}, f), nil)
	r, err := c.Check(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Error) > 256 || !utf8.ValidString(r.Error) || !strings.HasSuffix(r.Error, "é…") {
		t.Errorf("error of %d bytes, valid %v: %q", len(r.Error), utf8.ValidString(r.Error), r.Error)
	}
}

func TestHistoryKeepsFailuresLonger(t *testing.T) {
	t.Parallel()
	f := &fake{name: "a", probe: script("x.xx..........x.....")}
	c := healthcheck.New(jobs(healthcheck.Config{History: 3}, f), nil)
	for range 20 {
		if _, err := c.Check(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	history := c.Snapshot()[0].History
	got := ""
	for i, r := range history {
		got += map[bool]string{true: ".", false: "x"}[r.OK()]
		if i > 0 && r.At.Before(history[i-1].At) {
			t.Errorf("result %d is older than the one before it", i)
		}
	}
	// Four failures fell out of the last three results; the first is one too many.
	if got != "xxx..." {
		t.Errorf("history %q, want the last three failures and the last three results", got)
	}
}

func TestCheckNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{name: "a", probe: func(_ context.Context, n int) error {
			time.Sleep(250 * time.Millisecond)
			return script(".x")(nil, n)
		}}
		other := &fake{name: "b"}
		c := healthcheck.New(jobs(healthcheck.Config{}, f, other), nil)

		r, err := c.Check(t.Context(), "a")
		if err != nil || !r.OK() || r.TookMS != 250 {
			t.Errorf("first: %+v, %v, want a pass of 250 ms", r, err)
		}
		r, err = c.Check(t.Context(), "a")
		if err != nil || r.Error != "connection refused" {
			t.Errorf("second: %+v, %v, want the failure", r, err)
		}
		if other.count() != 0 {
			t.Errorf("the other target was probed %d times", other.count())
		}
		if _, err := c.Check(t.Context(), "none"); !errors.Is(err, healthcheck.ErrUnknown) {
			t.Errorf("unknown name: %v, want ErrUnknown", err)
		}
	})
}

func TestCheckWaitsForTheProbeUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most int
		f := &fake{name: "a", probe: func(context.Context, int) error {
			running++
			most = max(most, running)
			time.Sleep(time.Second)
			running--
			return nil
		}}
		c := healthcheck.New(jobs(healthcheck.Config{}, f), nil)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := c.Check(t.Context(), "a"); err != nil {
					t.Errorf("Check: %v", err)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := c.Check(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a Check that cannot wait: %v, want its context's error", err)
		}
		wg.Wait()
		if most != 1 || f.count() != 3 {
			t.Errorf("%d probes, up to %d at once; want 3, one at a time", f.count(), most)
		}
	})
}

func TestCheckGivenUpIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{name: "a", probe: func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		c := healthcheck.New(jobs(healthcheck.Config{}, f), nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Check(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Check: %v, want the caller's deadline", err)
		}
		if s := c.Snapshot()[0]; s.Known || len(s.History) != 0 || len(f.verdicts) != 0 {
			t.Errorf("the caller's impatience was held against the target: %+v", s)
		}
	})
}

// A Target that wants no probe is not counted as one that passed it.
func TestSkippedProbeIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{name: "a", probe: func(context.Context, int) error { return skip{} }}
		c := healthcheck.New(jobs(healthcheck.Config{Interval: time.Second}, f), nil)
		if _, err := c.Check(t.Context(), "a"); !errors.As(err, new(skip)) {
			t.Errorf("Check: %v, want the Target's own error", err)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		c.Run(ctx)
		if s := c.Snapshot()[0]; s.Known || len(s.History) != 0 || len(f.verdicts) != 0 || f.count() < 2 {
			t.Errorf("asked %d times: %+v", f.count(), s)
		}
	})
}

type skip struct{}

func (skip) Error() string { return "not now" }
func (skip) Skipped() bool { return true }
