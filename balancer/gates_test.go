package balancer_test

import (
	"context"
	"net/http/httptrace"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
)

func TestCooldownKeepsTheTimeThatWasAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limited := quotaGone
		limited.RetryAfter = time.Hour
		r := newRig(fail(limited), serve)
		for range 10 {
			r.mustGet(t, tag)
		}
		if got := r.counts(); !slices.Equal(got, []int{1, 10}) {
			t.Fatalf("asked %v, want the limited one once", got)
		}
		r.mustGet(t, blob)
		if got := r.ups[0].count(); got != 2 {
			t.Error("a quota of manifests kept a blob away")
		}
		if s := r.state(0); s.State != balancer.StateCooling || s.Until == nil || time.Until(*s.Until) != time.Hour {
			t.Errorf("state %q until %v", s.State, s.Until)
		}
		time.Sleep(time.Hour - time.Second)
		r.mustGet(t, tag)
		if got := r.ups[0].count(); got != 2 {
			t.Error("asked before its time")
		}
		r.ups[0].become(serve)
		time.Sleep(2 * time.Second)
		r.mustGet(t, tag)
		if got := r.ups[0].count(); got != 3 {
			t.Error("not asked again after its time")
		}
	})
}

// Before T no request is made, even when there is no other lane.
func TestCooldownThatWasAskedIsNotForced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limited := quotaGone
		limited.RetryAfter = time.Hour
		r := newRig(fail(limited))
		for range 5 {
			_, err := r.Fetch(t.Context(), tag)
			if e := errorOf(t, err); e.Status != 429 || e.RetryAfter != time.Hour {
				t.Errorf("%v, retry after %v", e, e.RetryAfter)
			}
		}
		if got := r.ups[0].count(); got != 1 {
			t.Errorf("asked %d times", got)
		}
	})
}

func TestGuessedCooldownGrows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(fail(quotaGone), serve)
		var waits []time.Duration
		for range 8 {
			r.mustGet(t, tag)
			s := r.state(0)
			if len(s.Cooldowns) != 1 {
				t.Fatalf("cooldowns %+v", s.Cooldowns)
			}
			wait := time.Until(s.Cooldowns[0].Until)
			waits = append(waits, wait)
			time.Sleep(wait + time.Second)
		}
		base := 30 * time.Second
		for i, wait := range waits {
			if wait < base*8/10 || wait > base*12/10 {
				t.Errorf("cooldown %d lasts %v, want %v within a fifth", i, wait, base)
			}
			base = min(2*base, 15*time.Minute)
		}
		r.ups[0].become(serve)
		time.Sleep(time.Hour)
		r.mustGet(t, tag)
		r.ups[0].become(fail(quotaGone))
		r.mustGet(t, tag)
		if wait := time.Until(r.state(0).Cooldowns[0].Until); wait > 36*time.Second {
			t.Errorf("after a success it lasts %v again", wait)
		}
	})
}

// The prober looks by HEAD before users come back, and only then.
func TestGuessedCooldownIsEndedByAHead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(serve, serve)
		r.lanes[0].SetProbeResult(true, nil)
		r.mustGet(t, tag)
		r.ups[0].become(fail(quotaGone))
		r.mustGet(t, tag)
		time.Sleep(37 * time.Second)
		asked := r.ups[0].count()
		r.mustGet(t, tag)
		if got := r.ups[0].count(); got != asked {
			t.Fatal("a user was sent before the prober had looked")
		}
		r.ups[0].become(serve)
		if err := r.lanes[0].Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		if last := r.ups[0].asked[asked]; !last.Head || last.Digest == "" || last.Op != pullchain.Manifest {
			t.Errorf("the prober asked for %+v, want the HEAD of a digest", last)
		}
		r.mustGet(t, tag)
		if got := r.ups[0].count(); got != asked+2 {
			t.Errorf("asked %d times, want %d: the lane is back", got, asked+2)
		}
	})
}

func TestBreakerTripsAndComesBackByTheProber(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(serve, serve)
		r.mustGet(t, tag)
		r.lanes[0].SetProbeResult(true, nil)
		r.ups[0].become(fail(internal))
		for i := range 7 {
			r.mustGet(t, of(i, tag))
		}
		if got := r.counts(); !slices.Equal(got, []int{6, 7}) {
			t.Fatalf("asked %v, want five failures and no more", got)
		}
		if s := r.state(0); s.State != balancer.StateOpen || s.Code != pullchain.CodeServerError {
			t.Errorf("state %q because of %q", s.State, s.Code)
		}
		r.ups[0].become(serve)
		time.Sleep(31 * time.Second)
		if s := r.state(0); s.State != balancer.StateHalfOpen {
			t.Errorf("after 31 s the state is %q", s.State)
		}
		r.mustGet(t, tag)
		if got := r.ups[0].count(); got != 6 {
			t.Error("a user took the trial although the prober can")
		}
		for range 3 {
			if err := r.lanes[0].Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if b := r.state(0).Breakers[pullchain.ClassManifest]; b.State != "closed" {
			t.Errorf("after three trials the breaker is %q", b.State)
		}
		r.mustGet(t, tag)
		if got := r.ups[0].count(); got != 9 {
			t.Errorf("asked %d times, want 9: not yet preferred again", got)
		}
		for range 3 { // the prober goes on until the lane has proved itself
			time.Sleep(21 * time.Second)
			if err := r.lanes[0].Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		before := r.ups[0].count()
		r.mustGet(t, tag)
		if got := r.ups[0].count(); got != before+1 {
			t.Error("a minute and three successes later it is not preferred again")
		}
	})
}

func TestOpenTimeGrowsWithTheTrips(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(fail(internal))
		var waits []time.Duration
		for i := range 100 {
			if _, err := r.Fetch(t.Context(), of(i, tag)); err == nil {
				t.Fatal("answered")
			}
			s := r.state(0)
			if s.State != balancer.StateOpen {
				continue
			}
			waits = append(waits, time.Until(*s.Until))
			time.Sleep(time.Until(*s.Until) + time.Second)
		}
		if len(waits) < 12 {
			t.Fatalf("%d trips", len(waits))
		}
		for i, wait := range waits {
			if want := min(time.Duration(i+1)*30*time.Second, 300*time.Second); wait != want {
				t.Errorf("trip %d opens for %v, want %v", i+1, wait, want)
			}
		}
	})
}

func TestFailureThresholds(t *testing.T) {
	t.Parallel()
	status := func(s int, code pullchain.Code) pullchain.Error {
		return pullchain.Error{Reason: pullchain.Unavailable, Code: code, Status: s}
	}
	for _, tt := range []struct {
		e    pullchain.Error
		want int
	}{
		{status(500, pullchain.CodeServerError), 5},
		{status(502, pullchain.CodeServerError), 3},
		{status(503, pullchain.CodeServerError), 3},
		{status(522, pullchain.CodeOriginDown), 2},
		{status(0, pullchain.CodeTLSCert), 1},
		{status(0, pullchain.CodeConnTimeout), 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(fail(tt.e), serve)
			for i := range 10 {
				r.mustGet(t, of(i, tag))
			}
			if got := r.ups[0].count(); got != tt.want {
				t.Errorf("%s %d: asked %d times before it was left alone, want %d", tt.e.Code, tt.e.Status, got, tt.want)
			}
		})
	}
}

func TestEgressGateIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := balancer.NewEgress()
		r := newRigOf([]balancer.LaneConfig{{Resolve: true, Egress: shared}, {Resolve: true, Egress: shared}, {Resolve: true}},
			fail(proxyDead), fail(proxyDead), serve)
		for range 5 {
			r.mustGet(t, tag)
		}
		if got := r.counts(); got[0]+got[1] > 2 || got[2] != 5 {
			t.Errorf("asked %v: the dead proxy was tried again and again", got)
		}
		for i := range 2 {
			s := r.state(i)
			if s.State != balancer.StateDown || s.Code != pullchain.CodeEgressProxy {
				t.Errorf("lane %d is %q because of %q", i, s.State, s.Code)
			}
			if b := s.Breakers[pullchain.ClassManifest]; b.Failures != 0 {
				t.Errorf("lane %d was blamed for its proxy: %+v", i, b)
			}
		}
		r.ups[0].become(serve)
		if err := r.lanes[0].Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.mustGet(t, tag)
		if got := r.counts()[0]; got != 2 {
			t.Errorf("after a probe got through, lane a was asked %d times, want 2", got)
		}
	})
}

// Wrong bytes of several repositories are the lane's: it lies, or its storage is gone.
func TestQuarantineWidensAndDoubles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(corrupt)
		for i := range 4 {
			for repo := range 3 {
				if s := r.state(0); s.State == balancer.StateQuarantined {
					t.Fatalf("after %d repositories: %q", repo, s.State)
				}
				if _, err := r.Fetch(t.Context(), of(repo, smallBlob)); pullchain.ReasonOf(err) != pullchain.Corrupt {
					t.Fatalf("got %v", err)
				}
			}
			want := 5 * time.Minute << i
			s := r.state(0)
			if s.State != balancer.StateQuarantined || time.Until(*s.Until) != want {
				t.Fatalf("%d: %q until %v, want %v", i, s.State, s.Until, want)
			}
			if err := r.lanes[0].Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s := r.state(0).State; s != balancer.StateQuarantined {
				t.Fatal("a ping made up for wrong bytes")
			}
			time.Sleep(max(want, 10*time.Minute) + time.Second)
		}
	})
}

// A lane that is the only one left is asked, whatever is guessed of it, and once more
// for what was the fault of a moment.
func TestTheLastPathIsAsked(t *testing.T) {
	t.Parallel()
	once := func(bad fetchFunc) fetchFunc {
		asked := false
		return func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			if !asked {
				asked = true
				return bad(ctx, req)
			}
			return serve(ctx, req)
		}
	}
	for name, bad := range map[string]fetchFunc{
		"500":         fail(internal),
		"reset":       fail(pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeConnReset}),
		"wrong bytes": corrupt,
		"short bytes": cutAt(10),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(once(bad))
				r.mustGet(t, smallBlob)
				if got := r.ups[0].count(); got != 2 {
					t.Errorf("asked %d times, want once more", got)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // a probe that fails is a guess, and its 404 is not the content's
		r := newRig(serve)
		gone := missing
		r.lanes[0].SetProbeResult(false, &gone)
		r.mustGet(t, tag)
		r.ups[0].become(fail(refused))
		if _, err := r.Fetch(t.Context(), of(1, tag)); pullchain.ReasonOf(err) != pullchain.Unavailable {
			t.Errorf("got %v", err)
		}
	})
}

// That another lane has not got it, or does not let us have it, leaves the closed one as
// the last. Only a registry's own "not found" ends it.
func TestTheLastPathIsAskedAfterANo(t *testing.T) {
	t.Parallel()
	refusal := pullchain.Error{Reason: pullchain.Denied, Code: pullchain.CodeForbidden, Status: 403, Reach: pullchain.ReachContent}
	lacks, final := missing, missing
	lacks.Final, final.Final = false, true
	for name, tt := range map[string]struct {
		no    pullchain.Error
		asked bool
	}{
		"it lacks it":      {lacks, true},
		"it refuses it":    {refusal, true},
		"there is no such": {final, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRigOf([]balancer.LaneConfig{{Resolve: true, Authoritative: true}, {Resolve: true}}, fail(tt.no), fail(internal))
				r.lanes[1].SetProbeResult(false, nil)
				r.ups[1].become(serve)
				_, err := r.Fetch(t.Context(), tag)
				if served := err == nil; served != tt.asked {
					t.Errorf("behind a closed gate, after a no: %v, want it asked: %t", err, tt.asked)
				}
				r.ups[1].become(fail(internal))
				r.lanes[1].SetProbeResult(true, nil)
				before := r.ups[1].count()
				if _, err = r.Fetch(t.Context(), of(1, tag)); err == nil {
					t.Error("served")
				}
				want := 0
				if tt.asked {
					want = 2 // and once more
				}
				if got := r.ups[1].count() - before; got != want {
					t.Errorf("asked %d times for what failed for a moment, want %d", got, want)
				}
			})
		})
	}
}

// What was learnt is forgotten at once where the operator says so.
func TestReset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hour := quotaGone
		hour.RetryAfter = time.Hour
		r := newRig(fail(hour), serve)
		for i := range 3 {
			r.mustGet(t, of(i, tag))
		}
		r.ups[0].become(fail(internal))
		for i := range 9 {
			r.mustGet(t, of(i, blob))
		}
		r.ups[0].become(serve)
		before := r.ups[0].count()
		r.mustGet(t, tag)
		r.mustGet(t, blob)
		if got := r.ups[0].count(); got != before {
			t.Fatalf("asked %d times behind closed gates", got-before)
		}
		r.lanes[0].SetAdminState(balancer.Drained, time.Time{})
		r.Reset(r.lanes[0])
		if s := r.state(0); s.State != balancer.StateDrained {
			t.Errorf("the operator's word was forgotten: %q", s.State)
		}
		r.lanes[0].SetAdminState("", time.Time{})
		if s := r.state(0); len(s.Gates) > 0 || s.Breakers[pullchain.ClassBlob].State != "closed" {
			t.Errorf("after the reset: %+v", s)
		}
		r.mustGet(t, tag)
		r.mustGet(t, blob)
		if got := r.ups[0].count(); got != before+2 {
			t.Errorf("asked %d times after the reset, want 2", got-before)
		}
		r.ups[0].become(fail(missing))
		r.Fetch(t.Context(), tag)
		r.ups[0].become(serve)
		r.Reset(r.lanes[0])
		r.mustGet(t, tag) // "not found" is forgotten as well
	})
}

// blackholed starts to dial and never connects.
func blackholed(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	trace := httptrace.ContextClientTrace(ctx)
	trace.GetConn("192.0.2.1:443")
	trace.ConnectStart("tcp", "192.0.2.1:443")
	return silent(ctx, req)
}

func TestASilentLaneCostsASecondOnce(t *testing.T) {
	t.Parallel()
	for _, req := range []pullchain.Request{blob, tag} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(blackholed, serve)
			start := time.Now()
			r.mustGet(t, req)
			if took := time.Since(start); took > time.Second {
				t.Errorf("the first request took %v", took)
			}
			time.Sleep(time.Second)
			start = time.Now()
			for range 10 {
				r.mustGet(t, blob)
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("later requests took %v", took)
			}
		})
	}
}

func TestManifestsAreHedged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(after(1200*time.Millisecond, serve), serve)
		start := time.Now()
		r.mustGet(t, tag)
		if took := time.Since(start); took != 250*time.Millisecond {
			t.Errorf("took %v, want the hedge after 250 ms", took)
		}
		if b := r.state(0).Breakers[pullchain.ClassManifest]; b.Failures != 0 {
			t.Errorf("slow is not down: %+v", b)
		}
		hedged := 0
		for range 40 {
			before := r.ups[1].count()
			r.mustGet(t, tag)
			hedged += r.ups[1].count() - before
		}
		if hedged > 4 {
			t.Errorf("%d of 40 requests were hedged, past the budget", hedged)
		}
	})
	synctest.Test(t, func(t *testing.T) { // where a client would wait for a second more, it is whatever it costs
		r := newRig(after(20*time.Second, serve), serve)
		for i := range 10 {
			start := time.Now()
			r.mustGet(t, of(i, tag))
			if took := time.Since(start); took > 1250*time.Millisecond {
				t.Errorf("took %v", took)
			}
		}
		if got := r.counts(); got[0] != 6 || got[1] != 10 {
			t.Errorf("asked %v: three within the budget and three in a row that were late make it come second", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRigOf([]balancer.LaneConfig{{Resolve: true}, {Resolve: true, Metered: true}}, after(2*time.Second, serve), serve)
		r.mustGet(t, tag)
		if got := r.ups[1].count(); got != 0 {
			t.Error("a hedge was sent where requests cost money")
		}
	})
}

func TestAShortWaitIsWaited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		throttled := func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			if n++; n == 1 {
				return pullchain.Response{}, &pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeThrottle, Status: 429, RetryAfter: 1160 * time.Microsecond}
			}
			return serve(ctx, req)
		}
		r := newRig(throttled, serve)
		r.mustGet(t, tag)
		if got := r.counts(); !slices.Equal(got, []int{2, 0}) {
			t.Errorf("asked %v, want the same lane twice", got)
		}
		if s := r.state(0); len(s.Cooldowns) != 0 {
			t.Errorf("cooldowns %+v", s.Cooldowns)
		}
	})
}

func TestAdminState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(serve)
		r.lanes[0].SetAdminState(balancer.Drained, time.Time{})
		_, err := r.Fetch(t.Context(), tag)
		if e := errorOf(t, err); e.Code != pullchain.CodeAdmin || r.ups[0].count() != 0 {
			t.Errorf("%v after %d requests", err, r.ups[0].count())
		}
		if s := r.state(0).State; s != balancer.StateDrained {
			t.Errorf("state %q", s)
		}
		r.lanes[0].SetAdminState("", time.Time{})
		r.mustGet(t, tag)
	})
}

func TestTokenServerHasGatesOfItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(fail(pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeToken, Reach: pullchain.ReachToken, RetryAfter: time.Minute}), serve)
		r.ups[0].token = true
		r.mustGet(t, tag)
		r.mustGet(t, tag)
		if got := r.ups[0].count(); got != 1 {
			t.Fatalf("asked %d times with its token server cooling", got)
		}
		r.ups[0].become(serve)
		r.ups[0].token = false // it has a token for this one
		r.mustGet(t, tag)
		if got := r.ups[0].count(); got != 2 {
			t.Errorf("a request that needs no token was kept away")
		}
	})
}

func TestPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(serve, serve)
		pace := func(quiet, urgent bool) {
			t.Helper()
			if q, u := r.lanes[0].Pace(); q != quiet || u != urgent {
				t.Errorf("quiet %v, urgent %v; want %v, %v", q, u, quiet, urgent)
			}
		}
		pace(false, false)
		r.mustGet(t, tag)
		pace(true, false)
		time.Sleep(16 * time.Second)
		pace(false, false)
		r.lanes[0].SetProbeResult(false, errClosedPort)
		pace(false, true)
	})
}

var errClosedPort = &refused

// What a breaker counted longer ago than its window is not shown as in it.
func TestCountsAreOfTheWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(fail(internal), serve)
		for i := range 3 {
			r.mustGet(t, of(i, tag))
		}
		if b := r.state(0).Breakers[0]; b.Requests != 3 || b.Failures != 3 {
			t.Errorf("at once: %+v", b)
		}
		time.Sleep(10 * time.Minute)
		if b := r.state(0).Breakers[0]; b.Requests != 0 || b.Failures != 0 {
			t.Errorf("ten minutes later: %+v", b)
		}
	})
}

// A lane that has sent wrong bytes is not shown unproved for a day, nor is one of which
// the operator wants so.
func TestUnprovedLanes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRigOf([]balancer.LaneConfig{{Resolve: true}, {Resolve: true, VerifyWhole: true}}, serve, serve)
		unproved := func(from int, want bool) {
			t.Helper()
			req := on(unverified, blob)
			if from == 1 {
				req.Options.Avoid = []string{"a"}
			}
			resp := r.mustFetch(t, req)
			defer resp.Body.Close()
			if resp.Unproved != want || resp.Body.Source().Unproved != want {
				t.Errorf("lane %d: unproved is %v, want %v", from, resp.Unproved, want)
			}
		}
		unproved(0, false)
		unproved(1, true)
		r.Blame("a", of(7, blob), &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeDigestMismatch})
		unproved(0, true)
		time.Sleep(24 * time.Hour)
		unproved(0, false)
	})
}
