package balancer_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
)

// lowRig is a lane with nine of a hundred pulls left, before one that says nothing of any.
func lowRig(window time.Duration) *rig {
	r := newRig(serve, serve)
	r.ups[0].quota = &pullchain.Quota{Limit: 100, Remaining: 9, Window: window, At: time.Now()}
	return r
}

// F08 A low quota is spared until its window must have ended, and no lane is spared that
// is the last; people read which and why.
func TestF08_SparedUntilItsWindowEnds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ window, spared time.Duration }{
		"six hours":     {6 * time.Hour, 6 * time.Hour},
		"not said":      {0, 10 * time.Minute},
		"beyond belief": {1000 * time.Hour, 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := lowRig(tt.window)
				r.mustGet(t, tag)
				if got := r.counts(); got[0] != 0 || got[1] != 1 {
					t.Fatalf("asked %v, want the second alone", got)
				}
				if q := r.state(0).Quota; q.SparedUntil == nil || time.Until(*q.SparedUntil) != tt.spared {
					t.Errorf("spared until %v, want for %v", q.SparedUntil, tt.spared)
				}
				head := tag
				head.Head = true
				if plan := r.Plan(head); plan[0].Upstream != "a" || plan[0].Turn != 1 || plan[0].Code != pullchain.CodeQuotaLow || plan[1].Code != "" {
					t.Errorf("the plan does not say it: %+v", plan)
				}
				r.lanes[1].SetAdminState(balancer.Disabled, time.Time{})
				if q, plan := r.state(0).Quota, r.Plan(head); q.SparedUntil != nil || plan[0].Code != "" {
					t.Errorf("the last lane is spared: %v, %+v", q.SparedUntil, plan)
				}
				r.mustGet(t, tag)
				r.lanes[1].SetAdminState("", time.Time{})
				time.Sleep(tt.spared)
				r.mustGet(t, tag)
				if got := r.counts(); got[0] != 2 || got[1] != 1 {
					t.Errorf("asked %v, want the first after its window", got)
				}
			})
		})
	}
}

// F08 A low reading is renewed by the prober's HEAD every ten minutes, so that a window
// which ended earlier is seen.
func TestF08_LowReadingIsRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(serve, serve)
		r.mustGet(t, tag) // there is something to ask for again
		r.ups[0].quota = &pullchain.Quota{Limit: 100, Remaining: 10, Window: 6 * time.Hour, At: time.Now()}
		probe := func() int {
			before := r.ups[0].count()
			if err := r.lanes[0].Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
			return r.ups[0].count() - before
		}
		if n := probe(); n != 0 {
			t.Errorf("%d requests for a reading that is new", n)
		}
		time.Sleep(10 * time.Minute)
		r.ups[0].become(func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			if !req.Head {
				t.Errorf("a GET costs a pull: %+v", req)
			}
			r.ups[0].quota = &pullchain.Quota{Limit: 100, Remaining: 100, Window: 6 * time.Hour, At: time.Now()}
			return serve(ctx, req)
		})
		if n := probe(); n != 1 {
			t.Errorf("%d requests for a reading of ten minutes ago, want 1", n)
		}
		time.Sleep(10 * time.Minute)
		if n := probe(); n != 0 {
			t.Errorf("%d requests where there is enough", n)
		}
		r.ups[0].become(serve)
		r.mustGet(t, tag)
		if got := r.ups[1].count(); got != 0 {
			t.Errorf("the second was asked %d times", got)
		}
	})
}

// F08 A registry that tells its quota on GET alone is not asked at each probe.
func TestF08_LowReadingThatAHEADDoesNotRenew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(serve, serve)
		r.mustGet(t, tag)
		r.ups[0].quota = &pullchain.Quota{Limit: 100, Remaining: 10, Window: 6 * time.Hour, At: time.Now()}
		before := r.ups[0].count()
		for range 120 { // an hour
			time.Sleep(30 * time.Second)
			if err := r.lanes[0].Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := r.ups[0].count() - before; n != 6 {
			t.Errorf("%d requests in an hour, want 6", n)
		}
	})
}

// A lane that we ourselves hold back is not slow: it gets no company, and is left for none.
func TestHeldBackIsNotSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(serve, serve)
		if slow, _ := r.TooSlow("a", blob, 100); !slow {
			t.Fatal("100 bytes/s are not slow, so this shows nothing")
		}
		r.ups[0].held = time.Now()
		if slow, crawls := r.TooSlow("a", blob, 100); slow || crawls {
			t.Error("called slow for our own bound")
		}
		time.Sleep(10 * time.Second)
		if slow, _ := r.TooSlow("a", blob, 100); !slow {
			t.Error("the bound was no reason for long")
		}
	})
}
