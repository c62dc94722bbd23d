package balancer_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

// padded serves n bytes of a blob that it says is longer than it is.
func padded(n int) func(context.Context, pullchain.Request) (pullchain.Response, error) {
	return func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		claimed := int64(len(bytesOf(req)) + 1000)
		if req.Range.From >= claimed {
			return exact(ctx, req)
		}
		left := max(n-int(req.Range.From), 0)
		resp, err := answer(req, bytesOf(req)[:min(int(req.Range.From)+left, len(bytesOf(req)))], io.ErrUnexpectedEOF)
		resp.Size = claimed
		if resp.Status == 206 && req.Range.To == 0 {
			resp.Range.To = claimed
		}
		return resp, err
	}
}

// exact serves as a good upstream does, which has nothing beyond the end.
func exact(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	if size := int64(len(bytesOf(req))); req.Range.From >= size {
		return pullchain.Response{}, &pullchain.Error{Reason: pullchain.Invalid, Code: pullchain.CodeWrongRange, Status: 416, Size: size}
	}
	return serve(ctx, req)
}

// When lanes contradict each other on the size of a blob whose bytes the caller
// verifies, the caller is soon asked which to believe: after the one that named the first
// size has failed again, and not after rounds of waiting.
func TestDisputedSizeIsTheCallersToJudge(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]int{"cut": 600 << 10, "at the real end": len(content)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(padded(n), exact)
				began := time.Now()
				resp := r.mustFetch(t, on(unverified, blob))
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err == nil || len(got) != n {
					t.Errorf("%d bytes, %v, want the %d that there were and an error", len(got), err, n)
				}
				if a, b := r.ups[0].count(), r.ups[1].count(); a > 3 || b > 2 {
					t.Errorf("%d and %d requests, want 2 and 1 or so", a, b)
				}
				if waited := time.Since(began); waited > time.Second {
					t.Errorf("it took %v", waited)
				}
			})
		})
	}
}

// other has another blob, 5 bytes longer, in its place.
func other(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	resp, err := serve(ctx, req)
	if resp.Size == int64(len(content)) {
		resp.Size += 5
	}
	return resp, err
}

// An honest lane that is away for half a second in the middle, with a mirror that has a blob of another size.
func TestAnHonestLaneThatIsAwayForAMoment(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]fetchFunc{"alone beside one that is down": fail(internal), "beside one that lies": other} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Time{}
				first := func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
					switch {
					case began.IsZero():
						began = time.Now()
						return cutAt(600<<10)(ctx, req)
					case time.Since(began) < 500*time.Millisecond:
						return fail(internal)(ctx, req)
					}
					return serve(ctx, req)
				}
				r := newRig(first, second)
				resp := r.mustFetch(t, on(unverified, blob))
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || len(got) != len(content) {
					t.Errorf("%d bytes after %v: %v", len(got), time.Since(began), err)
				}
			})
		})
	}
}

// TestF19SizeOfTheRequest: the caller knows from a manifest how long the blob is, and a
// lane that says something else is passed over before a byte of it is read.
func TestF19SizeOfTheRequest(t *testing.T) {
	t.Parallel()
	for name, unverifiedToo := range map[string]bool{"verified here": false, "verified by the caller": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(padded(len(content)), exact)
				req := blob
				req.Size = int64(len(content))
				if unverifiedToo {
					req = on(unverified, req)
				}
				resp := r.mustFetch(t, req)
				if got := mustRead(t, resp); len(got) != len(content) || resp.Size != req.Size {
					t.Errorf("%d bytes, told a size of %d", len(got), resp.Size)
				}
				if a, b := r.ups[0].count(), r.ups[1].count(); a != 1 || b != 1 {
					t.Errorf("%d and %d requests, want one each", a, b)
				}
			})
		})
	}
}
