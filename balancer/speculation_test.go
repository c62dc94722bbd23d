package balancer_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
)

// Help is asked for where it is free and where there is room, and nowhere else.
func TestWhereSpeculativeRequestsGo(t *testing.T) {
	t.Parallel()
	part := on(speculative, ranged(0, 100_000))
	synctest.Test(t, func(t *testing.T) {
		r := newRigOf([]balancer.LaneConfig{{Metered: true}, {MaxConnections: 2}, {}}, serve, serve, serve)
		var open []pullchain.Response
		for range 5 {
			open = append(open, r.mustFetch(t, part))
		}
		if got := r.counts(); !slices.Equal(got, []int{0, 2, 3}) {
			t.Errorf("asked %v, want not the metered one, and two of the second", got)
		}
		for _, resp := range open {
			mustRead(t, resp)
		}
	})
	synctest.Test(t, func(t *testing.T) { // eight ask at once, and none has counted the others
		r := newRigOf([]balancer.LaneConfig{{MaxConnections: 4}}, after(time.Second, serve))
		results := make(chan error)
		for range 8 {
			go func() {
				resp, err := r.Fetch(t.Context(), part)
				results <- err
				if err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}()
		}
		helped := 0
		for range 8 {
			if err := <-results; err == nil {
				helped++
			} else if pullchain.CodeOf(err) != pullchain.CodeGate && pullchain.CodeOf(err) != pullchain.CodeNoUpstream {
				t.Error(err)
			}
		}
		if helped != 4 || r.ups[0].count() != 4 {
			t.Errorf("%d of 8 were let through, %d asked, the limit is 4", helped, r.ups[0].count())
		}
		synctest.Wait()
		if s := r.state(0); s.InFlight != 0 {
			t.Errorf("%d in flight afterwards", s.InFlight)
		}
	})
}

// closing tells when it is closed.
type closing struct {
	pullchain.Body
	closed *bool
}

func (c closing) Close() error { *c.closed = true; return c.Body.Close() }

// The whole is no help to a caller that has the half of it.
func TestTheWholeIsNoHelp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		closed := false
		r := newRig(func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			resp, err := ignoresRange(ctx, req)
			resp.Body = closing{resp.Body, &closed}
			return resp, err
		})
		_, err := r.Fetch(t.Context(), on(speculative, ranged(500_000, 600_000)))
		if e := errorOf(t, err); e.Reason != pullchain.Corrupt || e.Code != pullchain.CodeWrongRange || !closed {
			t.Errorf("%v; closed: %v", e, closed)
		}
		if s := r.state(0); !s.IgnoresRange || s.State == balancer.StateQuarantined {
			t.Errorf("it ignores ranges: %v; state %q", s.IgnoresRange, s.State)
		}
		if _, err := r.Fetch(t.Context(), on(speculative, ranged(500_000, 600_000))); err == nil || r.ups[0].count() != 1 {
			t.Errorf("asked %d times, and then %v", r.ups[0].count(), err)
		}
		r.mustGet(t, blob)
	})
}

// A far end that refuses one connection more serves those that it has: what was
// to help is given up, for a while, and nothing else.
func TestHelpThatFailsCostsNothingElse(t *testing.T) {
	t.Parallel()
	throttled := pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeThrottle, Status: 429}
	for name, then := range map[string]fetchFunc{
		"refused":       fail(refused),
		"503":           fail(internal),
		"429":           fail(throttled),
		"dead egress":   fail(proxyDead),
		"a page":        fail(webPage),
		"cut":           cutAt(10),
		"no connection": blackholed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				shared := balancer.NewEgress()
				r := newRigOf([]balancer.LaneConfig{{Egress: shared}, {Metered: true}}, then, serve)
				part := on(speculative, ranged(0, 100_000))
				if got, err := r.get(t.Context(), part); err == nil || len(got) > 10 {
					t.Errorf("%d bytes and %v", len(got), err)
				}
				s := r.state(0)
				if b := s.Breakers[pullchain.ClassBlob]; b.Failures != 0 || len(s.Gates) != 0 {
					t.Errorf("%+v, gates %+v", b, s.Gates)
				}
				if n := r.Snapshot().FailoversTotal; n != 0 {
					t.Errorf("%d failovers are told of", n)
				}
				r.ups[0].become(serve)
				before := r.counts()
				if _, err := r.get(t.Context(), part); err == nil || !slices.Equal(r.counts(), before) {
					t.Errorf("asked for help again at once: %v", r.counts())
				}
				r.mustGet(t, blob)
				if got := r.counts(); got[0] != before[0]+1 || got[1] != 0 {
					t.Errorf("then for a blob: asked %v, before it %v", got, before)
				}
				time.Sleep(time.Minute)
				if _, err := r.get(t.Context(), part); err != nil {
					t.Errorf("a minute later: %v", err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // but a pause that is asked for is kept
		throttled.RetryAfter = time.Hour
		r := newRig(fail(throttled))
		if _, err := r.get(t.Context(), on(speculative, ranged(0, 100_000))); pullchain.ReasonOf(err) != pullchain.Limited {
			t.Errorf("got %v", err)
		}
		if got := r.state(0).Cooldowns; len(got) != 1 || got[0].Class != "blob" || !got[0].Asked {
			t.Errorf("cooldowns %+v", got)
		}
	})
}

// No other lane is asked beside one that keeps a speculative request waiting.
func TestHelpIsNotHedged(t *testing.T) {
	t.Parallel()
	for _, slow := range []fetchFunc{blackholed, after(25*time.Second, serve)} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(slow, serve)
			ctx, cancel := context.WithTimeoutCause(t.Context(), 28*time.Second, errors.New("enough"))
			defer cancel()
			time.AfterFunc(5*time.Second, func() {
				if gates := r.state(0).Gates; len(gates) != 0 {
					t.Errorf("while the speculative request waits: %+v", gates)
				}
			})
			r.get(ctx, on(speculative, ranged(0, 100_000)))
			if got := r.counts(); !slices.Equal(got, []int{1, 0}) {
				t.Errorf("asked %v", got)
			}
		})
	}
}

// That a lane has not got one blob does not keep it from helping with another.
func TestALaneWithoutTheBlobIsNotAtRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		absent := missing
		absent.Final = false
		r := newRigOf([]balancer.LaneConfig{{}}, fail(absent))
		if _, err := r.get(t.Context(), on(speculative, ranged(0, 100_000))); pullchain.ReasonOf(err) != pullchain.NotFound {
			t.Errorf("got %v", err)
		}
		r.ups[0].become(serve)
		other := on(speculative, smallBlob)
		other.Range = pullchain.Range{To: 100}
		if got, err := r.get(t.Context(), other); err != nil || len(got) != 100 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

// The lane that helped is not therefore the one that a chain stays with.
func TestHelpDoesNotLead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(after(100*time.Millisecond, serve), after(90*time.Millisecond, serve))
		b := balancer.New(balancer.Config{Registry: "docker.io", Strategy: balancer.Fastest, Lanes: r.lanes})
		notA, notB := pullchain.FetchOptions{Avoid: []string{"a"}}, pullchain.FetchOptions{Avoid: []string{"b"}}
		help := speculative
		help.Avoid = notA.Avoid
		for _, req := range []pullchain.Request{on(notA, blob), on(notB, blob), on(help, ranged(0, 100_000)), blob} {
			resp, err := b.Fetch(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			mustRead(t, resp)
		}
		if got := r.counts(); !slices.Equal(got, []int{2, 2}) {
			t.Errorf("asked %v, want the last blob of the first lane: a tenth faster is not enough to change", got)
		}
	})
}

// A speculative request that is cut goes on elsewhere if that costs nothing more.
func TestHelpGoesOnFromTheNextLane(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(cutAt(1000), serve)
		got, err := r.get(t.Context(), on(speculative, ranged(500_000, 600_000)))
		if err != nil || string(got) != string(content[500_000:600_000]) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if n := r.Snapshot().FailoversTotal; n != 0 {
			t.Errorf("%d failovers are told of", n)
		}
	})
}
