package balancer_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
)

func (r *rig) laneCounts(lane int) map[string]uint64 {
	out := map[string]uint64{}
	for _, c := range r.state(lane).Counts.Requests {
		out[c.Kind+" "+c.Outcome] = c.N
	}
	return out
}

func TestCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(cutAt(400_000), after(20*time.Millisecond, serve))
		r.mustGet(t, blob) // cut at a, goes on at b
		r.ups[0].become(fail(internal))
		r.mustGet(t, tag)
		got, s := r.Snapshot().Counts, r.Snapshot()
		if diff := cmp.Diff([]balancer.FailoverCount{
			{From: "a", To: "b", Code: pullchain.CodeServerError, Phase: "manifest", N: 1},
			{From: "a", To: "b", Code: pullchain.CodeTruncated, Phase: "blob_mid", N: 1},
		}, got.Failovers); diff != "" {
			t.Errorf("failovers (-want +got):\n%s", diff)
		}
		if got.Resumes != 1 || got.ResumedBytes != 400_000 {
			t.Errorf("%d resumes over %d bytes", got.Resumes, got.ResumedBytes)
		}
		if h := got.FailoverAdded["manifest"]; sum(h.Counts) != 1 || len(h.Counts) != len(h.Bounds)+1 {
			t.Errorf("added by failovers: %+v", h)
		}
		if diff := cmp.Diff(map[string]uint64{"blob truncated": 1, "manifest server_error": 1}, r.laneCounts(0)); diff != "" {
			t.Errorf("requests of a (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]uint64{"blob ok": 1, "manifest ok": 1}, r.laneCounts(1)); diff != "" {
			t.Errorf("requests of b (-want +got):\n%s", diff)
		}
		a, b := s.Lanes[0].Counts, s.Lanes[1].Counts
		if a.Received != 400_000 || b.Received != int64(len(content))-400_000+int64(len(document)) {
			t.Errorf("received %d and %d bytes", a.Received, b.Received)
		}
		h := b.TTFB["manifest"] // 20 ms is in the bucket up to 25 ms
		if h.Counts[2] != 1 || sum(h.Counts) != 1 || h.SumS != 0.02 {
			t.Errorf("first bytes of b: %+v", h)
		}
		if l := s.Lanes[1]; l.LastServed == nil || !l.Eligible || l.First || !s.Lanes[0].First {
			t.Errorf("b: %+v", l)
		}
	})
}

func sum(counts []uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// A request that no lane could answer is counted once; an answer that says no is one,
// and a caller that has something to fall back on has not come to its end.
func TestExhaustedChainsAreCounted(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fetch fetchFunc
		req   pullchain.Request
		want  uint64
	}{
		"down":        {fail(internal), tag, 1},
		"limited":     {fail(quotaGone), tag, 1},
		"not found":   {fail(missing), tag, 0},
		"stale there": {fail(internal), on(pullchain.FetchOptions{NoForce: true}, tag), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(tt.fetch, tt.fetch)
				if _, err := r.get(t.Context(), tt.req); err == nil {
					t.Fatal("it was answered")
				}
				kinds := r.Snapshot().Counts.ExhaustedKinds
				if len(kinds) != 4 || kinds[0] != (balancer.KindCount{Kind: "manifest", N: tt.want}) {
					t.Errorf("%+v, want %d manifests", kinds, tt.want)
				}
			})
		})
	}
}

func TestHedgesAreCounted(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		first, second     fetchFunc
		won, lost, failed uint64
	}{
		"won":    {after(2*time.Second, serve), serve, 1, 0, 0},
		"lost":   {after(time.Second, serve), after(2*time.Second, serve), 0, 1, 0},
		"failed": {after(time.Second, serve), fail(internal), 0, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(tt.first, tt.second)
				r.mustGet(t, tag)
				synctest.Wait()
				c := r.Snapshot().Counts
				if c.HedgesWon != tt.won || c.HedgesLost != tt.lost || c.HedgesFailed != tt.failed {
					t.Errorf("%d won, %d lost, %d failed", c.HedgesWon, c.HedgesLost, c.HedgesFailed)
				}
			})
		})
	}
}

func TestBreakersAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(fail(internal))
		for i := range 10 {
			_, _ = r.get(t.Context(), of(i, tag))
		}
		if c := r.state(0).Counts; c.BreakersOpened == 0 || c.BreakersClosed != 0 {
			t.Fatalf("%+v", c)
		}
		r.ups[0].become(serve)
		time.Sleep(10 * time.Minute) // no prober takes the trials: users' requests do
		for i := range 10 {
			r.mustGet(t, of(100+i, tag))
		}
		if c := r.state(0).Counts; c.BreakersClosed != 1 {
			t.Errorf("%+v", c)
		}
	})
}

// Counts of a chain outlive a reload, but for those of lanes that it took away.
func TestCountsOutliveAReload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(fail(internal), fail(internal), serve)
		r.mustGet(t, tag)
		r.ups[1].become(serve)
		r.mustGet(t, of(1, tag))
		if n := len(r.Snapshot().Counts.Failovers); n != 2 {
			t.Fatalf("%d pairs", n)
		}
		next := balancer.New(balancer.Config{Registry: "docker.io", Lanes: r.lanes[:2], Previous: r.Balancer})
		next.TakeOver()
		want := []balancer.FailoverCount{{From: "a", To: "b", Code: pullchain.CodeServerError, Phase: "manifest", N: 1}}
		if diff := cmp.Diff(want, next.Snapshot().Counts.Failovers); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// Every error has one of the words.
func TestOutcomeOf(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"nil":                {nil, "ok"},
		"refused":            {&refused, "connect_error"},
		"500":                {&internal, "server_error"},
		"quota":              {&quotaGone, "rate_limited"},
		"404":                {&missing, "not_found"},
		"page":               {&webPage, "bad_content"},
		"proxy":              {&proxyDead, "egress_error"},
		"stall":              {&pullchain.Error{Code: pullchain.CodeStall}, "stalled"},
		"digest":             {&pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeDigestMismatch}, "digest_mismatch"},
		"unclassified":       {errors.New("odd"), "server_error"},
		"the client left":    {context.Canceled, "canceled"},
		"canceled in a dial": {&pullchain.Error{Reason: pullchain.Canceled, Code: pullchain.CodeConnTimeout}, "canceled"},
	} {
		if got := balancer.OutcomeOf(tt.err); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
