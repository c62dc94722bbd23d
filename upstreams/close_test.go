package upstreams

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

// A wireBody is what net/http would hand over: size bytes, the end of which is
// seen only by the read after the last of them.
type wireBody struct {
	ctx    context.Context
	left   int
	silent int // so many of the last bytes never come
	ended  bool
	closed bool
}

func (w *wireBody) Read(p []byte) (int, error) {
	if w.left == 0 {
		w.ended = true
		return 0, io.EOF
	}
	n := min(len(p), w.left-w.silent)
	if n == 0 {
		<-w.ctx.Done()
		return 0, context.Cause(w.ctx)
	}
	w.left -= n
	return n, nil
}

func (w *wireBody) Close() error { w.closed = true; return nil }

// TestCloseReadsLittle: what is left of a body is read if it is little and comes
// at once. Of one without a length only the end is looked for.
func TestCloseReadsLittle(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		length int64
		left   int // when it is closed
		silent int
		ended  bool
		unread int
		took   time.Duration
	}{
		"little":                    {200_000, 64 << 10, 0, false, 0, 0}, // net/http tells the end with the last byte of a length
		"too much":                  {200_000, 64<<10 + 1, 0, false, 64<<10 + 1, 0},
		"little, and it is slow":    {200_000, 100, 60, false, 60, discardTime},
		"without a length, all":     {-1, 0, 0, true, 0, 0},
		"without a length, not all": {-1, 100, 0, false, 99, 0},
		"nothing comes":             {-1, 100, 100, false, 100, discardTime},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &attempt{u: testUpstream(t, Config{Name: "hub", URL: "https://hub.example"})}
				a.ctx, a.cancel = context.WithCancelCause(t.Context())
				w := &wireBody{ctx: a.ctx, left: 200_000, silent: tt.silent}
				b := a.stream(&http.Response{Body: w, ContentLength: tt.length})
				if _, err := io.CopyN(io.Discard, b, int64(200_000-tt.left)); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
				took := time.Since(start)
				synctest.Wait()
				if !w.closed || w.ended != tt.ended || w.left != tt.unread || took != tt.took {
					t.Errorf("closed %v, end seen %v, %d bytes unread, took %v; want true, %v, %d, %v",
						w.closed, w.ended, w.left, took, tt.ended, tt.unread, tt.took)
				}
				if a.ctx.Err() == nil {
					t.Error("the attempt goes on")
				}
			})
		})
	}
}

// TestCloseAfterAFailure: what has failed is not read again.
func TestCloseAfterAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &attempt{u: testUpstream(t, Config{Name: "hub", URL: "https://hub.example"})}
		a.ctx, a.cancel = context.WithCancelCause(t.Context())
		w := &wireBody{ctx: a.ctx, left: 100, silent: 100}
		b := a.stream(&http.Response{Body: w, ContentLength: 100})
		_, err := b.Read(make([]byte, 10))
		if e, ok := errors.AsType[*pullchain.Error](err); !ok || e.Code != pullchain.CodeStall {
			t.Fatalf("got %v, want a stall", err)
		}
		start := time.Now()
		b.Close()
		if took := time.Since(start); !w.closed || took != 0 {
			t.Errorf("closed: %v, after %v", w.closed, took)
		}
	})
}
