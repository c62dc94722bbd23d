package healthcheck_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain/healthcheck"
)

// within reports the smallest and the largest gap, and fails unless all lie in
// interval +-20 %.
func within(t *testing.T, gaps []time.Duration, interval time.Duration) {
	t.Helper()
	if len(gaps) == 0 {
		t.Fatal("no two probes")
	}
	least, most := slices.Min(gaps), slices.Max(gaps)
	if least < interval*8/10 || most > interval*12/10 {
		t.Errorf("gaps between %v and %v, want %v +-20 %%", least, most, interval)
	}
}

func busy() (quiet, urgent bool) { return true, false }

func TestPaces(t *testing.T) {
	tests := []struct {
		name   string
		target *fake
		active bool // another target serves traffic
		want   time.Duration
	}{
		{"traffic elsewhere", &fake{}, true, 15 * time.Second},
		{"urgent", &fake{pace: func() (bool, bool) { return false, true }}, true, 5 * time.Second},
		{"urgent beats quiet", &fake{pace: func() (bool, bool) { return true, true }}, true, 5 * time.Second},
		{"urgent without traffic", &fake{pace: func() (bool, bool) { return false, true }}, false, 5 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.target.name = "a"
				other := &fake{name: "b"}
				if tt.active {
					other.pace = busy
				}
				run(t, healthcheck.New(jobs(healthcheck.Config{}, tt.target, other), nil), time.Hour)
				gaps := tt.target.gaps()
				within(t, gaps, tt.want)
				if mean := time.Hour / time.Duration(len(gaps)); mean < tt.want*9/10 || mean > tt.want*11/10 {
					t.Errorf("mean gap %v, want about %v: the jitter leans to one side", mean, tt.want)
				}
				if slices.Min(gaps) == slices.Max(gaps) {
					t.Error("no jitter at all")
				}
			})
		})
	}
}

func TestIdlePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{name: "a"}
		ctx, cancel := context.WithCancel(t.Context())
		c := healthcheck.New(jobs(healthcheck.Config{}, f), nil)
		done := make(chan struct{})
		go func() { defer close(done); c.Run(ctx) }()

		time.Sleep(4 * time.Minute)
		within(t, f.gaps(), 15*time.Second)

		time.Sleep(3 * time.Minute) // five minutes without traffic are over, and the interval that ran then
		idle := f.count()
		time.Sleep(time.Hour)
		within(t, f.gaps()[idle-1:], time.Minute)
		cancel()
		<-done
	})
}

func TestTrafficEndsTheIdlePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		traffic := time.Now().Add(time.Hour)
		standby := &fake{name: "standby"}
		serving := &fake{name: "serving", pace: func() (bool, bool) { return time.Now().After(traffic), false }}
		run(t, healthcheck.New(jobs(healthcheck.Config{}, standby, serving), nil), time.Hour+30*time.Second)

		last := standby.times[len(standby.times)-1]
		if after := last.Sub(traffic); after < 0 {
			t.Errorf("not probed in the 30 s after traffic began; last %v before", -after)
		}
	})
}

func TestQuietSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{name: "a", pace: busy}
		c := healthcheck.New(jobs(healthcheck.Config{}, f), nil)
		run(t, c, time.Hour)
		if f.count() != 1 {
			t.Errorf("%d probes of a target that traffic proves, want only the first", f.count())
		}
		if next := time.Until(c.Snapshot()[0].Next); next < -time.Second || next > 18*time.Second {
			t.Errorf("next turn in %v, want one within an interval", next)
		}
	})
}

func TestQuietDoesNotHideADownTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{name: "a", pace: busy, probe: script("xxxx.")}
		run(t, healthcheck.New(jobs(healthcheck.Config{}, f), nil), time.Hour)
		// Four failures, two passes that bring it up, and then silence.
		if f.count() != 6 || !f.verdicts[5] {
			t.Errorf("%d probes, verdicts %v; want 6 that end up", f.count(), f.verdicts)
		}
		within(t, f.gaps(), 5*time.Second)
	})
}

func TestFailureHastensAndThenTires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{name: "a", probe: script(".x")}
		serving := &fake{name: "b", pace: busy}
		run(t, healthcheck.New(jobs(healthcheck.Config{}, f, serving), nil), time.Hour)
		gaps := f.gaps()
		within(t, gaps[:1], 15*time.Second)  // after a pass
		within(t, gaps[1:13], 5*time.Second) // after each of twelve failures
		within(t, gaps[13:], 15*time.Second) // it may be down for days
	})
}

func TestUrgencyWakesASleeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		urgentAt := time.Now().Add(time.Hour)
		f := &fake{name: "a", pace: func() (bool, bool) { return false, time.Now().After(urgentAt) }}
		run(t, healthcheck.New(jobs(healthcheck.Config{IdleInterval: 10 * time.Hour}, f), nil), time.Hour+13*time.Second)
		last := f.times[len(f.times)-1]
		if last.Before(urgentAt) {
			t.Errorf("last probe %v before it became urgent, want one within two urgent intervals after", urgentAt.Sub(last))
		}
	})
}

func TestFirstProbesAreSpreadOverASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var targets []*fake
		for range 10 {
			targets = append(targets, &fake{name: "a"})
		}
		start := time.Now()
		run(t, healthcheck.New(jobs(healthcheck.Config{}, targets...), nil), 2*time.Second)
		for i, f := range targets {
			if f.count() != 1 {
				t.Fatalf("target %d probed %d times in two seconds, want once", i, f.count())
			}
			lo := time.Duration(i) * 100 * time.Millisecond
			if at := f.times[0].Sub(start); at < lo || at > lo+101*time.Millisecond {
				t.Errorf("target %d first probed after %v, want its tenth of the second", i, at)
			}
		}
	})
}

func TestRunWaitsForProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopped := false
		f := &fake{name: "a", probe: func(ctx context.Context, _ int) error {
			<-ctx.Done()
			time.Sleep(300 * time.Millisecond) // as closing a connection may take
			stopped = true
			return ctx.Err()
		}}
		c := healthcheck.New(jobs(healthcheck.Config{}, f), nil)
		start := time.Now()
		run(t, c, 3*time.Second)
		if took := time.Since(start); !stopped || took != 3300*time.Millisecond {
			t.Errorf("Run returned after %v, probe stopped: %v; want 3.3s and true", took, stopped)
		}
		if s := c.Snapshot()[0]; s.Known || len(f.verdicts) != 0 {
			t.Errorf("our own shutdown was held against the target: %+v", s)
		}
	})
}

func TestRunWithNothingToDoReturns(t *testing.T) {
	t.Parallel()
	healthcheck.New(nil, nil).Run(t.Context())
}

func TestReloadKeepsWhatIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := &fake{name: "kept", probe: script("xxx.")}
		gone := &fake{name: "gone"}
		old := healthcheck.New(jobs(healthcheck.Config{}, kept, gone), nil)
		for range 3 {
			if _, err := old.Check(t.Context(), "kept"); err != nil {
				t.Fatal(err)
			}
		}
		added := &fake{name: "gone"} // the name of one that was, but not the same
		c := healthcheck.New(jobs(healthcheck.Config{}, added, kept), old)

		snap := c.Snapshot()
		if s := snap[1]; s.Up || s.Falling != 3 || len(s.History) != 3 {
			t.Errorf("kept: %+v, want it down with three failures", s)
		}
		if s := snap[0]; s.Known || len(s.History) != 0 {
			t.Errorf("a new target of an old name: %+v, want it unknown", s)
		}

		start := time.Now()
		run(t, c, 3*time.Second)
		if added.count() != 1 || kept.count() != 3 {
			t.Errorf("in the first 3 s: %d probes of the new, %d more of the kept; want 1 and 0", added.count(), kept.count()-3)
		}
		run(t, c, 4*time.Second)
		if kept.count() != 4 || kept.times[3].Sub(start) > 6*time.Second {
			t.Errorf("the kept one lost its place in the schedule: %d probes", kept.count())
		}
		if s := old.Snapshot()[0]; len(s.History) != 3 {
			t.Errorf("the old Checker's history grew to %d: it is shared", len(s.History))
		}
	})
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		cfg  healthcheck.Config
		want string
	}{
		{healthcheck.Config{}, ""},
		{healthcheck.Config{}.WithDefaults(), ""},
		{healthcheck.Config{Interval: 15}, "interval: 15ns is not between 1s and 24h0m0s"},
		{healthcheck.Config{Timeout: -time.Second}, "timeout: -1s is not between 10ms and 24h0m0s"},
		{healthcheck.Config{Rise: -1, Fall: 5000}, "rise: -1 is not between 1 and 1000\nfall: 5000 is not between 1 and 1000"},
	}
	for _, tt := range tests {
		got := ""
		if err := tt.cfg.Validate(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("Validate(%+v) = %q, want %q", tt.cfg, got, tt.want)
		}
	}
}
