package upstreams

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
)

// zeros is a body without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
func (zeros) Close() error               { return nil }

// Two pulls of one upstream, and one of another behind the same egress, share what the two
// bounds leave; none of them stalls for being held back, and manifests wait for nothing.
func TestRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const seconds = 60
		shared := egress.NewBandwidth(40 << 10)
		open := func(u *Upstream, op pullchain.Op) *body {
			a := &attempt{u: u, req: pullchain.Request{Op: op}}
			a.ctx, a.cancel = context.WithCancelCause(t.Context())
			return a.stream(&http.Response{Body: zeros{}, ContentLength: -1})
		}
		// A piece of 1 KiB for each of three takes longer than a stall may.
		slow := testUpstream(t, Config{Name: "slow", URL: "https://slow.example", Rate: 10 << 10, Timeouts: Timeouts{Stall: time.Millisecond}})
		other := testUpstream(t, Config{Name: "other", URL: "https://other.example", Timeouts: Timeouts{Stall: time.Millisecond}})
		slow.Share(shared)
		other.Share(shared)
		began := time.Now()
		if n, err := io.ReadFull(open(slow, pullchain.Manifest), make([]byte, 1<<20)); n != 1<<20 || err != nil || time.Since(began) > 0 {
			t.Errorf("a manifest: %d bytes, %v, after %v", n, err, time.Since(began))
		}
		if !slow.Facts().HeldBack.IsZero() {
			t.Error("nothing was held back yet")
		}
		var got [3]int
		var all sync.WaitGroup
		for i, u := range []*Upstream{slow, slow, other} {
			all.Go(func() {
				b, buf := open(u, pullchain.Blob), make([]byte, 64<<10)
				defer b.Close()
				for time.Since(began) < seconds*time.Second {
					n, err := b.Read(buf)
					if err != nil {
						t.Errorf("reader %d: %v", i, err)
						return
					}
					got[i] += n
				}
			})
		}
		all.Wait()
		for i, want := range []int{5 << 10 * seconds, 5 << 10 * seconds, 30 << 10 * seconds} {
			if got[i] < want*95/100 || got[i] > want*105/100 {
				t.Errorf("reader %d has %d bytes, want about %d", i, got[i], want)
			}
		}
		if held := slow.Facts().HeldBack; time.Since(held) > time.Second {
			t.Errorf("held back until %v", held)
		}
	})
}

// A reader that goes away while it is held back is one that has gone away.
func TestRateEndsWithItsReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := testUpstream(t, Config{Name: "slow", URL: "https://slow.example", Rate: egress.MinRate})
		a := &attempt{u: u, req: pullchain.Request{Op: pullchain.Blob}}
		a.ctx, a.cancel = context.WithCancelCause(t.Context())
		b := a.stream(&http.Response{Body: zeros{}, ContentLength: -1})
		defer b.Close()
		buf := make([]byte, 1<<20)
		if _, err := b.Read(buf); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Millisecond, func() { a.cancel(context.Canceled) })
		if _, err := b.Read(buf); pullchain.CodeOf(err) != pullchain.CodeCanceled {
			t.Errorf("%v, want that it was canceled", err)
		}
	})
}
