package fill

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
)

// leave begins a download, takes n bytes of it, and hangs up.
func (r *fillRig) leave(n int64) {
	r.t.Helper()
	resp, err := r.fetch(r.t.Context(), whole)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, n); err != nil {
		r.t.Fatal(err)
	}
	resp.Body.Close()
}

// after lets d pass.
func (r *fillRig) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// oneConnection answers with rate bytes/s, and refuses a second connection.
func oneConnection(rate int) func(int, pullchain.Request) reply {
	return func(n int, _ pullchain.Request) reply {
		if n > 0 {
			return reply{err: &pullchain.Error{Reason: pullchain.Limited}}
		}
		return reply{rate: rate}
	}
}

// TestF49AbandonedWithinItsBudget: what no reader waits for goes on while it will soon be
// there; else its bytes are kept, and its files and connections are free.
func TestF49AbandonedWithinItsBudget(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		rate   int // bytes/s
		after  time.Duration
		goesOn bool
	}{
		{"the rest takes 20 s", mib / 2, 3 * time.Second, true},
		{"the rest takes 20 s, and is there", mib / 2, 25 * time.Second, false},
		{"the rest takes two minutes", mib / 12, 3 * time.Second, false},
		{"it trickles", 100, 3 * time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fillBubble(t, noise(10*mib, 1), func(t *testing.T, r *fillRig) {
				r.chain.answer = oneConnection(tt.rate)
				r.leave(200)
				r.after(tt.after)
				active, open := r.fills.Snapshot().Active, r.chain.open.Load()
				if tt.goesOn != (active == 1) || tt.goesOn != (open > 0) || tt.goesOn != (r.fills.Snapshot().Abandoned == 1) {
					t.Errorf("%d fills with %d bodies go on: %+v", active, open, r.fills.Snapshot())
				}
			})
		})
	}
}

// TestF49RestIsKept: a pull that comes again goes on where the last one was given up.
func TestF49RestIsKept(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(10*mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = oneConnection(mib / 12)
		r.leave(mib)
		r.after(5 * time.Second)
		if s := r.fills.Snapshot(); s.Active != 0 || s.Suspended != 1 {
			t.Errorf("%+v", s)
		}
		r.chain.answer = nil
		r.mustGet(whole)
		r.settled(true)
		r.sentAtMost(10*mib + 64*kib)
	})
}

// TestF49CrumbsAreNotKept: what is not worth a request is not worth files either.
func TestF49CrumbsAreNotKept(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(int, pullchain.Request) reply { return reply{rate: 100} }
		r.leave(200)
		r.settled(false)
		if n := r.store.Stats().Partial; n != 0 {
			t.Errorf("%d partial blobs", n)
		}
	})
}

// TestF49ComesBackInTime: a reader that joins what goes on has it go on for itself.
func TestF49ComesBackInTime(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(10*mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(int, pullchain.Request) reply { return reply{rate: mib / 12} }
		r.leave(200)
		r.after(time.Second)
		r.mustGet(whole)
		r.settled(true)
		r.sentAtMost(10*mib + mib)
		if s := r.fills.Snapshot(); s.Begun != 1 || s.Suspended != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestF49MakesWay: a client that waits for a connection gets that of a download that no
// client waits for.
func TestF49MakesWay(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(10*mib, 1), func(t *testing.T, r *fillRig) {
		var waits atomic.Bool
		r.reg.Waits = func(upstream string) bool {
			if upstream != "a" {
				t.Errorf("asked about %q", upstream)
			}
			return waits.Load()
		}
		r.chain.answer = func(int, pullchain.Request) reply { return reply{rate: mib} }
		r.leave(200)
		r.after(time.Second)
		if n := r.chain.open.Load(); n == 0 {
			t.Error("ended although no client waits")
		}
		waits.Store(true)
		r.after(3 * rampTick)
		if n := r.chain.open.Load(); n != 0 {
			t.Errorf("%d bodies are held while a client waits", n)
		}
	})
}

// TestF49Caps: so many go on at once, and the oldest make room.
func TestF49Caps(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(20*mib, 1), func(t *testing.T, r *fillRig) {
		lane := "a"
		r.chain.answer = func(int, pullchain.Request) reply { return reply{rate: 2 * mib, lane: lane} }
		leave := func(i int) {
			req := r.request("library/app", whole)
			req.Digest = digest.FromString(fmt.Sprint(i))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			resp, err := r.fills.Fetch(ctx, r.reg, req, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			synctest.Wait()
		}
		for i := range maxAbandonedPerUpstream + 3 {
			leave(i)
		}
		if n := r.fills.Snapshot().Abandoned; n != maxAbandonedPerUpstream || r.fills.Snapshot().Active != n {
			t.Errorf("of one upstream: %+v", r.fills.Snapshot())
		}
		for i := range maxAbandoned + 5 {
			lane = fmt.Sprint("lane", i/4)
			leave(1000 + i)
		}
		if n := r.fills.Snapshot().Abandoned; n != maxAbandoned || r.fills.Snapshot().Active != n {
			t.Errorf("in all: %+v", r.fills.Snapshot())
		}
	})
}
