package balancer_test

import (
	"bytes"
	"context"
	"io"
	"net/http/httptrace"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
)

// Two users meet a half-open breaker that no prober can try: one takes the
// trial, and the other is not in its way.
func TestHalfOpenMetByTwo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(fail(internal))
		for range 6 {
			r.get(t.Context(), byDigest)
		}
		time.Sleep(31 * time.Second)
		r.ups[0].become(after(500*time.Millisecond, serve))
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { r.mustGet(t, byDigest) })
		}
		wg.Wait()
		if n := r.state(0).InFlight; n != 0 {
			t.Errorf("%d in flight afterwards", n)
		}
	})
}

// dripping sends n bytes a second.
type dripping struct {
	r io.Reader
	n int
}

func (d dripping) Read(p []byte) (int, error) {
	p = p[:min(len(p), d.n)]
	time.Sleep(time.Duration(len(p)) * time.Second / time.Duration(d.n))
	return d.r.Read(p)
}

// at serves everything at n bytes a second.
func at(n int) fetchFunc {
	return func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp, err := serve(ctx, req)
		resp.Body = pullchain.PlainBody(io.NopCloser(dripping{resp.Body, n}))
		return resp, err
	}
}

func TestAMuchSlowerLaneIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(fail(internal), at(512<<10))
		r.mustGet(t, blob) // the second lane's pace is known now
		r.ups[0].become(at(1000))
		start := time.Now()
		r.mustGet(t, blob)
		if took := time.Since(start); took > time.Minute {
			t.Errorf("took %v at 1000 B/s beside a lane of 512 KiB/s", took)
		}
		if last := r.ups[1].asked[1]; last.Range.From == 0 {
			t.Error("the second lane was not asked for the rest alone")
		}
	})
	synctest.Test(t, func(t *testing.T) { // but where no lane is faster, slow is what there is: that is found out once
		r := newRig(at(20_000), at(20_000))
		for i := range 3 {
			r.mustGet(t, of(i, blob))
		}
		if got := r.counts(); !slices.Equal(got, []int{3, 1}) {
			t.Errorf("asked %v", got)
		}
		for i := range 2 {
			if s := r.state(i); s.State == balancer.StateDegraded {
				t.Errorf("%s is held to be slow: %+v", s.Upstream, s)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) { // and one that is so again and again comes after the others for a while
		r := newRig(at(1000), at(512<<10))
		for i := range 4 {
			r.mustGet(t, of(i, blob))
		}
		if got := r.counts(); !slices.Equal(got, []int{2, 4}) {
			t.Errorf("asked %v", got)
		}
		if s := r.state(0); s.State != balancer.StateDegraded || s.Code != pullchain.CodeTooSlow || s.Until == nil || len(s.Gates) != 0 {
			t.Errorf("%+v", s)
		}
		time.Sleep(6 * time.Minute)
		r.mustGet(t, of(5, blob))
		if got := r.counts(); !slices.Equal(got, []int{3, 5}) {
			t.Errorf("asked %v: after a while it is tried again", got)
		}
	})
}

// A lane that is left for its pace is come back to where the other is slower still, and
// one that nothing else can stand in for is not left.
func TestALaneThatIsSlowIsNotLeftForWorse(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		lanes []balancer.LaneConfig
		size  int64 // what the first tells of the blob; 0: the truth
		want  []int // requests of each
	}{
		"the other is slower still": {[]balancer.LaneConfig{{Resolve: true}, {Resolve: true}}, 0, []int{2, 1}},
		"the other costs money":     {[]balancer.LaneConfig{{Resolve: true}, {Resolve: true, Metered: true}}, 0, []int{1, 0}},
		"the size is not known":     {[]balancer.LaneConfig{{Resolve: true}, {Resolve: true}}, -1, []int{1, 0}},
		"there is no other":         {[]balancer.LaneConfig{{Resolve: true}}, 0, []int{1}},
		"the other has it not":      {[]balancer.LaneConfig{{Resolve: true}, {Resolve: true}}, 0, []int{2, 1}},
	} {
		synctest.Test(t, func(t *testing.T) {
			first := func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
				resp, err := at(40_000)(ctx, req)
				if tt.size < 0 {
					resp.Size = -1
				}
				return resp, err
			}
			fetches := []func(context.Context, pullchain.Request) (pullchain.Response, error){first, at(1000)}
			if name == "the other has it not" {
				fetches[1] = fail(missing)
			}
			r := newRigOf(tt.lanes, fetches[:len(tt.lanes)]...)
			start := time.Now()
			r.mustGet(t, blob)
			if took := time.Since(start); took > 40*time.Second {
				t.Errorf("%s: took %v of the 26 s that the first takes", name, took)
			}
			if got := r.counts(); !slices.Equal(got, tt.want) {
				t.Errorf("%s: asked %v, want %v", name, got, tt.want)
			}
		})
	}
}

func TestConfiguredFailures(t *testing.T) {
	t.Parallel()
	for _, want := range []int{2, 20} {
		synctest.Test(t, func(t *testing.T) {
			breaker := balancer.BreakerConfig{Failures: want, MinRequests: 1000}
			r := newRigOf([]balancer.LaneConfig{{Resolve: true, Breaker: breaker}, {Resolve: true}}, fail(internal), serve)
			for i := range 30 {
				r.mustGet(t, of(i, tag))
			}
			if got := r.ups[0].count(); got != want {
				t.Errorf("tripped after %d failures, configured are %d", got, want)
			}
		})
	}
}

// The third lane does not wait for the first one's time-out when the second fails.
func TestBlackholeAndFailureTogether(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		first, second fetchFunc
		req           pullchain.Request
	}{
		{blackholed, fail(quotaGone), blob},
		{blackholed, fail(quotaGone), byDigest},
		{after(8*time.Second, serve), fail(internal), byDigest},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(tt.first, tt.second, serve)
			start := time.Now()
			r.mustGet(t, tt.req)
			if took := time.Since(start); took > time.Second {
				t.Errorf("%s took %v", tt.req.Op, took)
			}
		})
	}
}

// A manifest that lies about the size of another repository's layer must not
// take that layer, or the lanes that serve it, out of service.
func TestSizesOfOneRepositoryAreNotHeldAgainstAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mirror := func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			resp, err := serve(ctx, req)
			if req.Op == pullchain.Manifest && req.Repo == "evil/image" {
				resp.Links = []pullchain.Descriptor{{Digest: blob.Digest, Size: int64(len(content)) + 1}}
			}
			return resp, err
		}
		r := newRig(mirror, mirror)
		evil, evilBlob := tag, blob
		evil.Repo, evilBlob.Repo = "evil/image", "evil/image"
		r.mustGet(t, evil)
		r.mustGet(t, blob)
		if _, err := r.get(t.Context(), evilBlob); pullchain.ReasonOf(err) != pullchain.Corrupt {
			t.Errorf("the mirror's own layer: %v", err)
		}
		for i := range 2 {
			if s := r.state(i).State; s == balancer.StateQuarantined {
				t.Errorf("lane %d was quarantined for what a manifest claimed", i)
			}
		}
	})
}

func TestA416DoesNotEndAResume(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		short := fail(pullchain.Error{Reason: pullchain.Invalid, Code: pullchain.CodeWrongRange, Status: 416})
		r := newRig(cutAt(400<<10), short, serve)
		got, err := r.get(t.Context(), blob)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

// The prober's canary request may be deleted upstream: the lane has to come back all
// the same.
func TestDeletedCanary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(serve, serve)
		r.lanes[0].SetProbeResult(true, nil)
		r.mustGet(t, byDigest)
		r.ups[0].become(fail(internal))
		for range 5 {
			r.mustGet(t, tag)
		}
		r.ups[0].become(func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			if req.Digest == byDigest.Digest {
				return fail(missing)(ctx, req)
			}
			return serve(ctx, req)
		})
		for range 60 {
			time.Sleep(5 * time.Second)
			r.lanes[0].SetProbeResult(true, r.lanes[0].Probe(t.Context()))
		}
		if s := r.state(0); !s.Settled || s.State != balancer.StateServing {
			t.Errorf("five minutes later it is %q, settled: %v", s.State, s.Settled)
		}
	})
}

// A dial that goes on after an idle connection has come free is no silence.
func TestAnOrphanDialIsNoFault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			trace := httptrace.ContextClientTrace(ctx)
			trace.GetConn("cdn:443")
			trace.ConnectStart("tcp", "cdn:443")
			trace.GotConn(httptrace.GotConnInfo{Reused: true})
			trace.ConnectStart("tcp", "cdn:443")
			return after(3*time.Second, serve)(ctx, req)
		}
		r := newRig(slow, serve)
		for range 3 {
			r.mustGet(t, blob)
		}
		if got := r.counts(); !slices.Equal(got, []int{3, 0}) {
			t.Errorf("asked %v", got)
		}
		if b := r.state(0).Breakers[pullchain.ClassBlob]; b.Failures != 0 {
			t.Errorf("blamed for being slow: %+v", b)
		}
	})
}

// Waiting for a connection of our own to come free starts the next lane, and is
// held against no lane.
func TestAFullPoolSpills(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		queued := func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			httptrace.ContextClientTrace(ctx).GetConn("cdn:443")
			return silent(ctx, req)
		}
		r := newRig(queued, serve)
		start := time.Now()
		r.mustGet(t, blob)
		if took := time.Since(start); took != time.Second {
			t.Errorf("took %v", took)
		}
		if s := r.state(0); len(s.Gates) != 0 || s.Breakers[pullchain.ClassBlob].Failures != 0 {
			t.Errorf("blamed for our own queue: %+v", s)
		}
	})
}

// A lane that answers neither well nor badly must not use up all the time there
// is, even where no hedge is made.
func TestTheBudgetIsShared(t *testing.T) {
	t.Parallel()
	for req, want := range map[*pullchain.Request]time.Duration{&tag: 10 * time.Second, &blob: 20 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			r := newRigOf([]balancer.LaneConfig{{Resolve: true}, {Resolve: true, Metered: true}}, silent, serve)
			start := time.Now()
			r.mustGet(t, *req)
			if took := time.Since(start); took != want {
				t.Errorf("%s took %v, want %v", req.Op, took, want)
			}
			if b := r.state(0).Breakers[req.Class()]; b.Failures != 1 {
				t.Errorf("%s: the silent lane is not blamed: %+v", req.Op, b)
			}
		})
	}
}

// gobreaker forgets the outcome of a request that began before its window.
func TestLateCutsCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lane := balancer.LaneConfig{Resolve: true, Patience: balancer.Patience{Rate: 1}} // its pace is not what this is about
		r := newRigOf([]balancer.LaneConfig{lane, lane}, func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			resp, err := cutAt(100<<10)(ctx, req)
			resp.Body = pullchain.PlainBody(io.NopCloser(&pausing{resp.Body, 40 * time.Second}))
			return resp, err
		}, serve)
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() { r.mustGet(t, of(i, blob)) })
		}
		wg.Wait()
		if b := r.state(0).Breakers[pullchain.ClassBlob]; b.Trips != 1 {
			t.Errorf("six cut bodies: %+v", b)
		}
	})
}

type pausing struct {
	r io.Reader
	d time.Duration
}

func (p *pausing) Read(b []byte) (int, error) {
	time.Sleep(p.d)
	p.d = 0
	return p.r.Read(b)
}

func TestAnOldBodyDoesNotOpenADeadEgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := balancer.NewEgress()
		r := newRigOf([]balancer.LaneConfig{{Resolve: true, Egress: shared}}, serve)
		resp, err := r.Fetch(t.Context(), blob)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		time.Sleep(time.Second)
		r.ups[0].become(fail(proxyDead))
		r.get(t.Context(), tag)
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		if s := r.state(0); s.State != balancer.StateDown || s.Code != pullchain.CodeEgressProxy {
			t.Errorf("state %q because of %q", s.State, s.Code)
		}
	})
}

// An odd label is the next lane's turn, and no more.
func TestUndecodableBodies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		junk := fail(pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeEncoded})
		r := newRig(junk, serve)
		for range 5 {
			r.mustGet(t, tag)
		}
		if s := r.state(0); s.State != balancer.StateServing {
			t.Errorf("the lane is %q", s.State)
		}
		ranges := newRig(junk, serve) // of a part it says only that its ranges are no use
		part := blob
		part.Range = pullchain.Range{From: 10}
		if _, err := ranges.get(t.Context(), part); err != nil {
			t.Fatal(err)
		}
		if s := ranges.state(0); !s.IgnoresRange || s.State == balancer.StateQuarantined {
			t.Errorf("after a botched range: %+v", s)
		}
	})
}

func TestAForcedTryThatRunsOutOfTimeIsOneToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(fail(internal))
		for i := range 5 {
			r.get(t.Context(), of(i, blob))
		}
		r.ups[0].become(silent)
		before := r.ups[0].count()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if _, err := r.get(t.Context(), blob); err == nil {
					t.Error("answered")
				}
			})
		}
		wg.Wait()
		if got := r.ups[0].count() - before; got != 1 {
			t.Errorf("five waiters made %d tries", got)
		}
	})
}

func TestAReadAfterTheEnd(t *testing.T) {
	t.Parallel()
	r := newRig(func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp, err := serve(ctx, req)
		resp.Size = -1
		return resp, err
	})
	resp, err := r.Fetch(t.Context(), blob)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != int64(len(content)) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if n, err := resp.Body.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Errorf("after the end: %d, %v", n, err)
	}
}

func TestADrainedLaneHasNoSay(t *testing.T) {
	t.Parallel()
	gone := missing
	gone.Final = false
	r := newRig(serve, fail(gone))
	r.lanes[0].SetAdminState(balancer.Drained, time.Time{})
	_, err := r.Fetch(t.Context(), tag)
	if e := errorOf(t, err); e.Reason != pullchain.NotFound {
		t.Errorf("got %v", e)
	}
}
