package balancer_test

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

type fetchFunc = func(context.Context, pullchain.Request) (pullchain.Response, error)

func TestFailoverBeforeTheFirstByte(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		first fetchFunc
		req   pullchain.Request
		gate  string // of the first lane, afterwards; empty if it may be asked again at once
	}{
		{"refused", fail(refused), tag, "hold"},
		{"500", fail(internal), tag, ""},
		{"429", fail(quotaGone), tag, "cooldown"},
		{"HTML", fail(webPage), tag, ""},
		{"dead egress, no other lane behind it", fail(proxyDead), tag, ""},
		{"small blob cut", cutAt(10), smallBlob, ""},
		{"small blob wrong", corrupt, smallBlob, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(tt.first, serve)
				r.mustGet(t, tt.req)
				if got := r.counts(); !slices.Equal(got, []int{1, 1}) {
					t.Errorf("asked %v times, want once each", got)
				}
				gate := ""
				for _, g := range r.state(0).Gates {
					if g.Class == tt.req.Class().String() {
						gate = g.Gate
					}
				}
				if gate != tt.gate {
					t.Errorf("gate %q is closed, want %q", gate, tt.gate)
				}
			})
		})
	}
}

func TestFinalError(t *testing.T) {
	t.Parallel()
	limitedFor := func(d time.Duration) pullchain.Error {
		e := quotaGone
		e.RetryAfter = d
		return e
	}
	mirrorMissing := missing
	mirrorMissing.Final = false
	denied := pullchain.Error{Reason: pullchain.Denied, Code: pullchain.CodeForbidden, Status: 403}
	for _, tt := range []struct {
		name   string
		a, b   pullchain.Error
		asked  []int
		reason pullchain.Reason
		status int
		after  time.Duration
	}{
		{"the registry itself says no", missing, internal, []int{1, 0}, pullchain.NotFound, 404, 0},
		{"one is down and one has not got it", refused, mirrorMissing, []int{1, 1}, pullchain.Unavailable, 0, 0},
		{"a mirror's no is not final", mirrorMissing, missing, []int{1, 1}, pullchain.NotFound, 404, 0},
		{"all limited", limitedFor(time.Hour), limitedFor(time.Minute), []int{1, 1}, pullchain.Limited, 429, time.Minute},
		{"one limited, one down", limitedFor(time.Hour), refused, []int{1, 1}, pullchain.Unavailable, 0, time.Hour},
		{"one limited, one has not got it", limitedFor(time.Hour), mirrorMissing, []int{1, 1}, pullchain.Unavailable, 0, time.Hour},
		{"wrong and missing", webPage, mirrorMissing, []int{1, 1}, pullchain.Corrupt, 0, 0},
		{"denied and missing", denied, mirrorMissing, []int{1, 1}, pullchain.Denied, 403, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(fail(tt.a), fail(tt.b))
				_, err := r.Fetch(t.Context(), tag)
				e := errorOf(t, err)
				if e.Reason != tt.reason || e.Status != tt.status || e.RetryAfter != tt.after {
					t.Errorf("%v, status %d, retry after %v; want %v, %d, %v", e.Reason, e.Status, e.RetryAfter, tt.reason, tt.status, tt.after)
				}
				if got := r.counts(); !slices.Equal(got, tt.asked) {
					t.Errorf("asked %v times, want %v", got, tt.asked)
				}
				if asked := len(e.Attempts); asked != tt.asked[0]+tt.asked[1] {
					t.Errorf("%d attempts in the error", asked)
				}
			})
		})
	}
}

func TestABlobGoesOnFromTheNextLane(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		lanes   []fetchFunc
		req     pullchain.Request
		offsets [][]int64 // where each lane was asked to begin
	}{
		{"cut", []fetchFunc{cutAt(400_000), serve}, blob, [][]int64{{0}, {400_000}}},
		{"cut twice", []fetchFunc{cutAt(400_000), cutAt(300_000), serve}, blob, [][]int64{{0}, {400_000}, {700_000}}},
		{"a lone lane that always cuts", []fetchFunc{cutAt(400_000)}, blob, [][]int64{{0, 400_000, 800_000}}},
		{"a small blob on a lone lane that always cuts", []fetchFunc{cutAt(300)}, smallBlob, [][]int64{{0, 300, 600, 900}}},
		{"in the client's own range", []fetchFunc{cutAt(1000), serve}, ranged(100, 5000), [][]int64{{100}, {1100}}},
		{"a lane that ignores ranges", []fetchFunc{cutAt(400_000), ignoresRange}, blob, [][]int64{{0}, {400_000}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(tt.lanes...)
				got, err := r.get(t.Context(), tt.req)
				if err != nil {
					t.Fatal(err)
				}
				want := bytesOf(tt.req)
				if !tt.req.Range.Whole() {
					want = content[tt.req.Range.From:tt.req.Range.To]
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%d bytes, or other ones than the %d right ones", len(got), len(want))
				}
				for i, f := range r.ups {
					var offsets []int64
					for _, req := range f.asked {
						offsets = append(offsets, req.Range.From)
					}
					if !slices.Equal(offsets, tt.offsets[i]) {
						t.Errorf("lane %s was asked from %v, want %v", f.name, offsets, tt.offsets[i])
					}
				}
			})
		})
	}
}

func ranged(from, to int64) pullchain.Request {
	req := blob
	req.Range = pullchain.Range{From: from, To: to}
	return req
}

// ignoresRange answers 200 with everything, whatever part was asked for.
func ignoresRange(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	req.Range = pullchain.Range{}
	return serve(ctx, req)
}

func TestAWrongBlobIsNeverComplete(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(corrupt, serve)
		got, err := r.get(t.Context(), blob)
		if err == nil || len(got) >= len(content) {
			t.Fatalf("%d bytes and error %v; want fewer than %d and an error", len(got), err, len(content))
		}
		if e := errorOf(t, err); e.Reason != pullchain.Corrupt || e.Code != pullchain.CodeDigestMismatch {
			t.Errorf("got %v", e)
		}
		if s := r.state(0).State; s != balancer.StateServing {
			t.Errorf("for one image the lane is %q", s)
		}
		r.mustGet(t, blob)
		if got := r.counts(); !slices.Equal(got, []int{1, 1}) {
			t.Errorf("asked %v, the lane that lied of this blob again", got)
		}
	})
}

// A blob spliced from two objects must not pass, whatever the headers say.
func TestAResumeWithAnotherObjectIsRefused(t *testing.T) {
	t.Parallel()
	other := func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp, err := serve(ctx, req)
		resp.Size += 7
		return resp, err
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(cutAt(400_000), other, serve)
		r.mustGet(t, blob)
		if got := r.counts(); !slices.Equal(got, []int{1, 1, 1}) {
			t.Errorf("asked %v", got)
		}
	})
}

func TestSizesLearntFromManifests(t *testing.T) {
	t.Parallel()
	manifest := func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp, err := serve(ctx, req)
		resp.Links = []pullchain.Descriptor{{Digest: blob.Digest, Size: int64(len(content))}}
		return resp, err
	}
	unsized := func(n int) fetchFunc { // as a relay that sends no Content-Length
		return func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			if req.Op == pullchain.Manifest {
				return manifest(ctx, req)
			}
			resp, err := answer(req, content[:n], nil)
			resp.Size = -1
			return resp, err
		}
	}
	wrong := func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		if req.Op == pullchain.Manifest {
			return manifest(ctx, req)
		}
		resp, err := serve(ctx, req)
		resp.Size -= 5
		return resp, err
	}
	for name, first := range map[string]fetchFunc{"a chunked body that ends early": unsized(400_000), "no length": unsized(len(content)), "a wrong length": wrong} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(first, serve)
				r.mustGet(t, tag)
				resp, err := r.Fetch(t.Context(), blob)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if resp.Size != int64(len(content)) {
					t.Errorf("size %d is answered", resp.Size)
				}
				if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, content) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			})
		})
	}
}

func TestOnlyResolvingLanesAreAskedForTags(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRigOf([]balancer.LaneConfig{{}, {Resolve: true}}, serve, serve)
		r.mustGet(t, tag)
		if got := r.counts(); !slices.Equal(got, []int{0, 1}) {
			t.Errorf("for a tag: asked %v", got)
		}
		r.mustGet(t, byDigest)
		if got := r.counts(); !slices.Equal(got, []int{1, 1}) {
			t.Errorf("for a digest: asked %v", got)
		}
	})
}

func TestNotFoundIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mirror := missing
		mirror.Final = false
		r := newRigOf([]balancer.LaneConfig{{Resolve: true}, {Resolve: true, Authoritative: true}}, fail(mirror), serve)
		for range 5 {
			r.mustGet(t, tag)
		}
		if got := r.counts(); !slices.Equal(got, []int{1, 5}) {
			t.Errorf("asked %v, want the mirror once", got)
		}
		time.Sleep(31 * time.Second)
		r.mustGet(t, tag)
		if got := r.ups[0].count(); got != 2 {
			t.Errorf("after 31 s the mirror was asked %d times in all, want 2", got)
		}
	})
}

func TestAClientThatLeavesIsNoFault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(silent, silent)
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			_, err := r.Fetch(ctx, blob)
			cancel()
			if got := pullchain.ReasonOf(err); got != pullchain.Canceled {
				t.Fatalf("reason %v", got)
			}
		}
		if b := r.state(0).Breakers[pullchain.ClassBlob]; b.State != "closed" || b.Failures != 0 {
			t.Errorf("breaker: %+v", b)
		}
	})
}

func TestBudgetToTheFirstByte(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		req  pullchain.Request
		want time.Duration
	}{{byDigest, 15 * time.Second}, {blob, 30 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(silent)
			start := time.Now()
			_, err := r.Fetch(t.Context(), tt.req)
			if e := errorOf(t, err); e.Status != 504 || e.Reason != pullchain.Unavailable {
				t.Errorf("%v with status %d", e, e.Status)
			}
			if got := time.Since(start); got != tt.want {
				t.Errorf("%s took %v, want %v", tt.req.Op, got, tt.want)
			}
		})
	}
}

func TestForcedTryIsOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(fail(internal))
		for i := range 5 {
			r.Fetch(t.Context(), of(i, tag))
		}
		if s := r.state(0).State; s != balancer.StateOpen {
			t.Fatalf("after five 500s the lane is %q", s)
		}
		before := r.ups[0].count()
		r.ups[0].become(after(100*time.Millisecond, fail(internal)))
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				_, err := r.Fetch(t.Context(), tag)
				if e := errorOf(t, err); e.Reason != pullchain.Unavailable {
					t.Errorf("got %v", e)
				}
			})
		}
		wg.Wait()
		if got := r.ups[0].count() - before; got != 2 {
			t.Errorf("50 requests at once asked %d times, want one forced try, made once more", got)
		}
		time.Sleep(2 * time.Second)
		r.ups[0].become(serve)
		for range 20 {
			wg.Go(func() { r.mustGet(t, tag) })
		}
		wg.Wait()
	})
}
