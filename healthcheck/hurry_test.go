package healthcheck_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain/healthcheck"
)

// What concerns all targets is looked at now, and not when their schedules come round.
func TestHurry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		target := &counted{}
		c := healthcheck.New([]healthcheck.Job{{Target: target, Config: healthcheck.Config{Interval: time.Hour, IdleInterval: time.Hour, UrgentInterval: time.Hour}}}, nil)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); c.Run(ctx) }()
		c.Hurry()                   // before there was any
		time.Sleep(5 * time.Second) // the first probe comes within a second
		want := func(n int, what string) {
			t.Helper()
			synctest.Wait()
			if target.n != n {
				t.Errorf("%s: %d probes, want %d", what, target.n, n)
			}
		}
		want(1, "at the start")
		c.Hurry()
		want(2, "hurried")
		time.Sleep(2 * time.Second)
		want(2, "and then by its schedule")
		stop()
		<-done
	})
}

// counted is a target that counts its probes. The bubble's own order guards it.
type counted struct{ n int }

func (c *counted) Name() string                { return "counted" }
func (c *counted) Probe(context.Context) error { c.n++; return nil }
func (c *counted) SetProbeResult(bool, error)  {}
func (c *counted) Pace() (quiet, urgent bool)  { return false, false }
