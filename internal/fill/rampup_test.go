package fill

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

// A lane of limited connections, as the balancer admits helpers to one.
type limitedLane struct {
	mu     sync.Mutex
	max    int
	rate   int
	rtt    time.Duration
	chain  *chainFake
	denied int
}

var errBusy = &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeGate}

func (l *limitedLane) answer(_ int, req pullchain.Request) reply {
	l.mu.Lock()
	defer l.mu.Unlock()
	open := int(l.chain.open.Load())
	if req.Options.Speculative && open >= l.max {
		l.denied++
		return reply{err: errBusy}
	}
	return reply{wait: l.rtt, rate: l.rate}
}

// TestThrottledCDN fetches 10 MiB from a CDN that gives each connection 256
// KiB/s in a sixth of the 40 s of one connection (docs/architecture.md, "What it must reach").
func TestThrottledCDN(t *testing.T) {
	t.Parallel()
	for _, rtt := range []time.Duration{0, 60 * time.Millisecond} {
		fillBubble(t, noise(10*mib, 1), func(t *testing.T, r *fillRig) {
			lane := &limitedLane{max: 8, rate: 256 * kib, rtt: rtt, chain: r.chain}
			r.chain.answer = lane.answer
			began := time.Now()
			r.mustGet(whole)
			took := time.Since(began)
			t.Logf("10 MiB at 256 KiB/s a connection, 8 connections, %v away: %v, with %d requests and %.3f of the bytes",
				rtt, took, len(r.chain.requests()), float64(r.chain.sent.Load())/(10*mib))
			if took > 40*time.Second/6 {
				t.Errorf("took %v", took)
			}
			r.settled(true)
			r.sentAtMost(10*mib + mib/2)
			for i, req := range r.chain.requests()[1:] {
				if !req.Options.Speculative || !req.Options.Unverified {
					t.Errorf("request %d has terms %+v", i+1, req.Options)
				}
			}
		})
	}
}

// TestNoHelp leaves alone what helpers do not make faster, and what is fast.
func TestNoHelp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		rate, pipe int
		most       int // requests
	}{
		{"fast", 20 * mib, 0, 1},
		{"one shared limit", mib, 256 * kib, 30},
	} {
		fillBubble(t, noise(10*mib, 1), func(t *testing.T, r *fillRig) {
			lane := &limitedLane{max: 8, rate: tt.rate, chain: r.chain}
			r.chain.answer, r.chain.pipe = lane.answer, tt.pipe
			r.mustGet(whole)
			t.Logf("%s: %d requests", tt.name, len(r.chain.requests()))
			if n := len(r.chain.requests()); n > tt.most {
				t.Errorf("%s: %d requests", tt.name, n)
			}
			r.settled(true)
			r.sentAtMost(10*mib + mib/2)
		})
	}
}

// TestOtherLanes asks those that are not in use when more connections to the
// same one bring nothing.
func TestOtherLanes(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(10*mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(_ int, req pullchain.Request) reply {
			switch {
			case !req.Options.Speculative:
				return reply{lane: "a", rate: 256 * kib}
			case slices.Contains(req.Options.Avoid, "a"):
				return reply{lane: "b", rate: 2 * mib}
			}
			return reply{err: errBusy}
		}
		began := time.Now()
		r.mustGet(whole)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
		r.settled(true)
		r.sentAtMost(10*mib + mib/2)
	})
}

// TestHelperDies costs nothing: who had the piece before goes on with it.
func TestHelperDies(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(4*mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(_ int, req pullchain.Request) reply {
			if req.Options.Speculative {
				return reply{err: errBusy, wait: 50 * time.Millisecond}
			}
			return reply{rate: 256 * kib}
		}
		began := time.Now()
		r.mustGet(whole)
		if took := time.Since(began); took > 17*time.Second {
			t.Errorf("took %v", took)
		}
		r.settled(true)
		r.sentAtMost(4 * mib)
		for i, req := range r.chain.requests()[1:] {
			if !req.Options.Speculative {
				t.Errorf("request %d: %+v", i+1, req)
			}
		}
	})
}

// TestParallelParts is a client that asks for the parts of a blob at once, as
// containerd does: each part has a connection, and who is done first does not
// cut up what others have only just asked for.
func TestParallelParts(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(8*mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, _ pullchain.Request) reply {
			return reply{rate: 2*mib + n*100*kib, wait: 150 * time.Millisecond}
		}
		var wg sync.WaitGroup
		began := time.Now()
		for i := range int64(4) {
			wg.Go(func() { r.mustGet(pullchain.Range{From: i * 2 * mib, To: (i + 1) * 2 * mib}) })
		}
		wg.Wait()
		if took := time.Since(began); took > 1200*time.Millisecond+300*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if n := len(r.chain.requests()); n > 6 {
			t.Errorf("%d requests", n)
		}
		r.settled(true)
		r.sentAtMost(8*mib + 400*kib)
	})
}

// TestCutDuringRead cuts a worker's claim while it waits for bytes beyond the
// cut, and then nobody comes for what was cut off: the body has moved on past
// it, and is of no more use for that.
func TestCutDuringRead(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(400*kib, 1), func(t *testing.T, r *fillRig) {
		asked := 0
		r.chain.answer = func(_ int, req pullchain.Request) reply {
			if req.Options.Speculative {
				return reply{err: errBusy}
			}
			asked++
			return reply{rate: 64 * kib, chunk: 32 * kib}
		}
		done := make(chan error)
		go func() { done <- r.get(whole) }()
		time.Sleep(2750 * time.Millisecond)
		synctest.Wait()
		f := r.fills.byDigest[r.chain.digest]
		f.mu.Lock()
		w := f.plan.workers[0] // it waits for [160 KiB, 192 KiB)
		w.end = w.pos + 10*kib
		f.mu.Unlock()
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.settled(true)
		if len(r.chain.blamed) > 0 {
			t.Errorf("blamed %v", r.chain.blamed)
		}
		if asked != 2 {
			t.Errorf("%d requests", asked)
		}
	})
}
