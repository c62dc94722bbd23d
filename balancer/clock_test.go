package balancer_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/clocktest"
)

// TestF60_ClockOfTheGates closes each gate that time opens, sets the clock by a day, and wants
// it open no later than it would have been: after a day forward, which is what a sleep of a
// day is, at once; after a day back when its own time is over, and not before.
func TestF60_ClockOfTheGates(t *testing.T) {
	t.Parallel()
	several := func(req pullchain.Request, repos int) func(*testing.T, *rig) {
		return func(t *testing.T, r *rig) {
			for repo := range repos {
				r.mustGet(t, of(repo, req)) // from the other lane
			}
		}
	}
	silence := pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeConnTimeout, Reach: pullchain.ReachLane}
	login := pullchain.Error{Reason: pullchain.Egress, Code: pullchain.CodeEgressAuth, Reach: pullchain.ReachLane}
	for _, c := range []struct {
		kind  string
		bad   fetchFunc
		close func(t *testing.T, r *rig)
		req   pullchain.Request // that it is closed for
		state string            // of the lane, then
		gate  string
		most  time.Duration // until it is open
	}{
		{"a pause that was named", limitedFor(6 * time.Hour), several(tag, 3), tag, balancer.StateCooling, "cooldown", 6 * time.Hour},
		{"a pause of ours", fail(quotaGone), several(tag, 3), tag, balancer.StateCooling, "cooldown", time.Minute},
		{"a pause of one image", limitedFor(6 * time.Hour), several(smallBlob, 1), of(0, smallBlob), balancer.StateDegraded, "content", 6 * time.Hour},
		{"wrong bytes of one digest", corrupt, several(smallBlob, 1), of(0, smallBlob), balancer.StateServing, "content", 5 * time.Minute},
		{"wrong bytes of several", corrupt, several(smallBlob, 3), tag, balancer.StateQuarantined, "quarantine", 5 * time.Minute},
		{"breaker", fail(internal), several(tag, 6), tag, balancer.StateOpen, "breaker", 5 * time.Minute},
		{"silence", fail(silence), several(tag, 1), tag, balancer.StateDown, "hold", 10 * time.Second},
		{"egress", fail(login), several(tag, 1), tag, balancer.StateDown, "egress", 5 * time.Minute},
		{"drain", serve, func(_ *testing.T, r *rig) { r.lanes[0].SetAdminState(balancer.Drained, time.Now().Add(time.Hour)) },
			tag, balancer.StateDrained, "operator", time.Hour},
	} {
		t.Run(c.kind, func(t *testing.T) {
			t.Parallel()
			r := newRigOf([]balancer.LaneConfig{{Resolve: true, Egress: balancer.NewEgress()}, {Resolve: true}}, c.bad, serve)
			began := time.Now()
			c.close(t, r)
			ended := time.Now()
			for _, now := range []time.Time{ended, clocktest.Set(ended, -24*time.Hour)} {
				state, until, gate := balancer.StandsAt(r.Balancer, 0, c.req, now)
				if state != c.state || gate != c.gate {
					t.Errorf("at %v it is %q, and closed by %q; want %q and %q", now, state, gate, c.state, c.gate)
				}
				if until != nil && until.Round(0).Sub(now.Round(0)) > c.most+time.Second {
					t.Errorf("at %v it is told to be closed until %v, more than %v", now, until, c.most)
				}
			}
			for what, now := range map[string]time.Time{
				"its time is over":                     ended.Add(c.most),
				"its time is over, the clock set back": clocktest.Set(ended.Add(c.most), -24*time.Hour),
				"the clock set forward, or a sleep":    clocktest.Set(began, 24*time.Hour),
			} {
				if state, until, gate := balancer.StandsAt(r.Balancer, 0, c.req, now); gate != "" {
					t.Errorf("%s: it is %q until %v, closed by %q", what, state, until, gate)
				}
			}
		})
	}
}

// What an operator wants of the order ends with its time, whatever becomes of the clock.
func TestF60_ClockOfTheOrder(t *testing.T) {
	t.Parallel()
	for kind, prefer := range map[string]func(r *rig, until time.Time){
		"pin":   func(r *rig, until time.Time) { r.Pin("b", until) },
		"order": func(r *rig, until time.Time) { r.Reorder([]string{"b", "a"}, until) },
	} {
		r := newRig(serve, serve)
		now := time.Now()
		prefer(r, now.Add(time.Hour))
		for _, c := range []struct {
			what string
			now  time.Time
			want string
		}{
			{"now", now, "b"},
			{"a day back", clocktest.Set(now, -24*time.Hour), "b"},
			{"a day back, an hour later", clocktest.Set(now.Add(time.Hour), -24*time.Hour), "a"},
			{"a day forward", clocktest.Set(now, 24*time.Hour), "a"},
		} {
			if got := balancer.FirstAt(r.Balancer, c.now); got != c.want {
				t.Errorf("%s, %s: %s is first, want %s", kind, c.what, got, c.want)
			}
		}
	}
}

// A pause that is named anew after a night's sleep holds, although the last one, of six
// hours, has more left by the clock that stood still.
func TestF60_ClockOfTheNextPause(t *testing.T) {
	t.Parallel()
	var p balancer.Pause
	evening := time.Now()
	p.Ask(6*time.Hour, evening)
	morning := clocktest.Set(evening.Add(time.Minute), 12*time.Hour)
	if lasts, binds := p.At(morning); lasts || binds {
		t.Error("after a night's sleep it lasts on")
	}
	p.Ask(time.Minute, morning)
	if lasts, binds := p.At(morning.Add(59 * time.Second)); !lasts || !binds {
		t.Errorf("within the new pause: it lasts: %v, and binds: %v", lasts, binds)
	}
	if lasts, binds := p.At(morning.Add(time.Minute)); lasts || binds {
		t.Error("after the new pause it lasts on")
	}
}

// A lane that has answered, and then falls silent, is told to be silent, although the clock
// was set in between: what was heard by a clock that was ahead is not heard tomorrow.
func TestF60_ClockOfSilence(t *testing.T) {
	t.Parallel()
	for _, jump := range clocktest.Jumps {
		t.Run(jump.Name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(serve)
				r.mustGet(t, tag)
				balancer.SetHeard(r.Balancer, 0, jump.By)
				r.ups[0].become(silent)
				ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
				defer cancel()
				go r.get(ctx, of(1, tag))
				time.Sleep(4 * time.Second)
				s := r.state(0)
				if !balancer.FallenSilent(r.lanes[0], 3*time.Second) || s.SilentSince == nil || time.Since(*s.SilentSince) != 4*time.Second {
					t.Errorf("4 s of silence are told as silence since %v, now is %v", s.SilentSince, time.Now())
				}
				if s.Heard != nil && s.Heard.After(time.Now()) {
					t.Errorf("it was heard of at %v, now is %v", s.Heard, time.Now())
				}
				<-ctx.Done()
				synctest.Wait()
			})
		})
	}
}
