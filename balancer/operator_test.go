package balancer_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
)

// servedBy asks for something new, and returns the name of the lane that served it.
func (r *rig) servedBy(t *testing.T, req pullchain.Request) string {
	t.Helper()
	before := r.counts()
	r.mustGet(t, req)
	for i, n := range r.counts() {
		if n > before[i] {
			return r.ups[i].name
		}
	}
	t.Fatal("no lane was asked")
	return ""
}

// A pinned lane is asked first whatever the strategy says, until its time is over, and a
// reload does not end it.
func TestPin(t *testing.T) {
	t.Parallel()
	for _, strategy := range []balancer.Strategy{balancer.Ordered, balancer.Fastest, balancer.Spread} {
		synctest.Test(t, func(t *testing.T) {
			r := newRigFor(balancer.Config{Registry: "docker.io", Strategy: strategy}, serve, serve, serve)
			r.Pin("c", time.Now().Add(time.Hour))
			if s := r.Snapshot(); s.Pinned != "c" || s.Lanes[2].State != balancer.StateUnknown {
				t.Errorf("%s: pinned %q, c is %q", strategy, s.Pinned, s.Lanes[2].State)
			}
			r.Balancer = balancer.New(balancer.Config{Registry: "docker.io", Strategy: strategy, Lanes: r.lanes, Previous: r.Balancer})
			for i := range 5 {
				if by := r.servedBy(t, of(i, blob)); by != "c" {
					t.Errorf("%s: served by %s, want c", strategy, by)
				}
			}
			if s := r.state(2); s.State != balancer.StateServing {
				t.Errorf("%s: c is %q", strategy, s.State)
			}
			time.Sleep(time.Hour)
			if s := r.Snapshot(); s.Pinned != "" {
				t.Errorf("%s: an hour later %q is pinned", strategy, s.Pinned)
			}
			if by := r.servedBy(t, tag); strategy == balancer.Ordered && by != "a" {
				t.Errorf("an hour later served by %s, want a", by)
			}
		})
	}
}

// A pin is no dead end: a pinned lane that is closed, fails, or is of another
// configuration leaves the others as they were.
func TestPinIsNoDeadEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(serve, serve, fail(internal))
		r.Pin("c", time.Time{})
		if by := r.servedBy(t, tag); by != "c" && by != "a" {
			t.Errorf("served by %s", by)
		}
		if got := r.counts(); !slices.Equal(got, []int{1, 0, 1}) {
			t.Errorf("asked %v: c failed, and a is the next", got)
		}
		r.lanes[2].SetAdminState(balancer.Drained, time.Time{})
		if by := r.servedBy(t, tag); by != "a" {
			t.Errorf("with c drained served by %s, want a", by)
		}
		r.Pin("gone", time.Time{})
		if by := r.servedBy(t, tag); by != "a" {
			t.Errorf("with no such lane served by %s, want a", by)
		}
	})
}

// A pinned lane that has all the connections it may have does not make requests wait.
func TestPinDoesNotQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := balancer.LaneConfig{Resolve: true, MaxConnections: 1}
		r := newRigOf([]balancer.LaneConfig{limit, limit}, serve, serve)
		r.Pin("b", time.Time{})
		resp, err := r.Fetch(t.Context(), blob)
		if err != nil {
			t.Fatal(err)
		}
		if by := r.servedBy(t, of(1, blob)); by != "a" {
			t.Errorf("served by %s, want a: b is busy", by)
		}
		resp.Body.Close()
		if by := r.servedBy(t, of(2, blob)); by != "b" {
			t.Errorf("served by %s, want b", by)
		}
	})
}

// The operator's order stands above the strategy, and lanes that it does not name follow.
func TestReorder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRigFor(balancer.Config{Registry: "docker.io", Strategy: balancer.Spread}, serve, serve, serve)
		r.Reorder([]string{"c", "b", "a"}, time.Now().Add(time.Minute))
		for i := range 5 {
			if by := r.servedBy(t, of(i, blob)); by != "c" {
				t.Errorf("served by %s, want c", by)
			}
		}
		r.lanes[2].SetAdminState(balancer.Drained, time.Time{})
		if by := r.servedBy(t, tag); by != "b" {
			t.Errorf("served by %s, want b, the next", by)
		}
		r.Pin("a", time.Time{})
		if by := r.servedBy(t, tag); by != "a" {
			t.Errorf("served by %s, want a: a pin stands above the order", by)
		}
		r.Pin("", time.Time{})
		r.Reorder([]string{"b"}, time.Time{})
		if s := r.Snapshot(); !slices.Equal(s.Reordered, []string{"b"}) {
			t.Errorf("the order is %v", s.Reordered)
		}
		r.ups[1].become(fail(internal))
		if by := r.servedBy(t, of(9, tag)); by != "a" && by != "b" {
			t.Errorf("served by %s", by)
		}
		r.Reorder(nil, time.Time{})
		if s := r.Snapshot(); s.Reordered != nil {
			t.Errorf("the order is %v", s.Reordered)
		}
	})
}

// What the operator wants ends by itself, at its time, without a timer: that is an event
// like the end of a cooldown.
func TestOperatorsWordEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r := newRig(serve, serve)
		r.mustGet(t, tag)
		r.lanes[0].SetAdminState(balancer.Drained, began.Add(time.Hour))
		s := r.state(0)
		if s.State != balancer.StateDrained || s.Until == nil || !s.Until.Equal(began.Add(time.Hour)) {
			t.Errorf("a is %q until %v", s.State, s.Until)
		}
		time.Sleep(time.Hour - time.Nanosecond)
		if by := r.servedBy(t, tag); by != "b" {
			t.Errorf("served by %s, want b", by)
		}
		time.Sleep(time.Nanosecond)
		if by := r.servedBy(t, tag); by != "a" {
			t.Errorf("served by %s, want a", by)
		}
		r.Pin("b", began.Add(2*time.Hour))
		time.Sleep(24 * time.Hour)
		checkStory(t, r.Events(), began,
			"0s transition a unknown->serving",
			"0s transition a serving->drained admin",
			"59m59.999999999s transition b unknown->serving",
			"1h0m0s transition a drained->serving",
			"1h0m0s transition b serving->standby",
			"1h0m0s transition a serving->standby",
			"1h0m0s transition b standby->serving",
			"2h0m0s transition a standby->serving",
			"2h0m0s transition b serving->standby",
		)
	})
}

// A disabled lane is not probed, and what was known of it stays.
func TestDisabledIsNotProbed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(serve, serve)
		pings := 0
		r.ups[0].ping = func(context.Context) error { pings++; return nil }
		r.lanes[0].SetAdminState(balancer.Disabled, time.Now().Add(time.Hour))
		err := r.lanes[0].Probe(t.Context())
		if s, ok := err.(interface{ Skipped() bool }); !ok || !s.Skipped() || pings != 0 {
			t.Errorf("Probe: %v, %d pings", err, pings)
		}
		if quiet, urgent := r.lanes[0].Pace(); quiet || urgent {
			t.Error("it passes for one with traffic, or is waited for")
		}
		time.Sleep(time.Hour)
		if err := r.lanes[0].Probe(t.Context()); err != nil || pings != 1 {
			t.Errorf("an hour later: %v, %d pings", err, pings)
		}
	})
}

// Whether pulls go on without a lane is a question for before it is taken out.
func TestPullableWithout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRigOf([]balancer.LaneConfig{{Resolve: true}, {Resolve: true}, {}}, serve, serve, serve)
		if !r.PullableWithout("a") || !r.PullableWithout("c") {
			t.Error("one of two is enough")
		}
		r.lanes[0].SetAdminState(balancer.Drained, time.Time{})
		if r.PullableWithout("b") {
			t.Error("c cannot say what a tag means")
		}
		if !r.PullableWithout("a") || !r.PullableWithout("none") {
			t.Error("b is left")
		}
	})
}

// Each of these forgets its own part, and leaves the rest.
func TestForgetParts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		cause  func(t *testing.T, r *rig)
		forget func(l *balancer.Lane)
		others []func(l *balancer.Lane)
		state  string
	}{
		{"breaker", func(t *testing.T, r *rig) {
			r.ups[0].become(fail(refused))
			for i := range 5 {
				r.mustGet(t, of(i, tag))
				time.Sleep(time.Second)
			}
		}, (*balancer.Lane).ResetBreakers, []func(*balancer.Lane){(*balancer.Lane).ClearCooldowns, (*balancer.Lane).LiftQuarantine}, balancer.StateOpen},
		{"cooldown", func(t *testing.T, r *rig) {
			r.ups[0].become(limitedFor(time.Hour))
			for i := range 3 {
				r.mustGet(t, of(i, tag))
			}
		}, (*balancer.Lane).ClearCooldowns, []func(*balancer.Lane){(*balancer.Lane).ResetBreakers, (*balancer.Lane).LiftQuarantine}, balancer.StateCooling},
		{"quarantine", func(t *testing.T, r *rig) {
			r.ups[0].become(corrupt)
			for i := range 3 {
				r.mustGet(t, of(i, smallBlob))
			}
		}, (*balancer.Lane).LiftQuarantine, []func(*balancer.Lane){(*balancer.Lane).ResetBreakers, (*balancer.Lane).ClearCooldowns}, balancer.StateQuarantined},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(serve, serve)
			tt.cause(t, r)
			for _, other := range tt.others {
				other(r.lanes[0])
			}
			if s := r.state(0); s.State != tt.state {
				t.Fatalf("%s: a is %q, want %q", tt.name, s.State, tt.state)
			}
			tt.forget(r.lanes[0])
			if s := r.state(0); len(s.Gates) > 0 || s.State != balancer.StateServing {
				t.Errorf("%s: a is %q behind %+v", tt.name, s.State, s.Gates)
			}
			r.ups[0].become(serve)
			for i := range 3 {
				if by := r.servedBy(t, of(i, smallBlob)); by != "a" {
					t.Errorf("%s: served by %s, want a", tt.name, by)
				}
			}
		})
	}
}

// What an operator does is an event of its own.
func TestRecord(t *testing.T) {
	t.Parallel()
	e := balancer.NewEvents()
	e.Record("docker.io", "b", balancer.Override{Action: "pin", Actor: "token 192.0.2.1", Reason: "a is slow"})
	e.Record("", "", balancer.Override{Action: "reload"})
	events, _, _ := e.Since(0)
	if len(events) != 2 || events[0].Kind != balancer.KindOverride || events[0].Override.Reason != "a is slow" || events[0].Upstream != "b" || events[1].Override.Action != "reload" {
		t.Errorf("events %+v", events)
	}
}
