package fill

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/snooze"
)

// A burstBody trickles, and when a helper has been asked for while a Read was
// waiting, that Read returns all that it has room for: what a throttle that lets
// bursts through, or a stalled TCP window that opens, looks like.
type burstBody struct {
	*bodyFake
	asked *atomic.Bool
	done  bool
}

func (b *burstBody) Read(p []byte) (int, error) {
	if b.done || b.pos >= b.end {
		return b.bodyFake.Read(p)
	}
	before := b.asked.Load()
	if !snooze.For(b.ctx, 160*time.Millisecond) {
		return 0, b.ctx.Err()
	}
	if !before && b.asked.Load() {
		b.done = true
		n, err := b.bodyFake.Read(p)
		return n, err
	}
	return b.bodyFake.Read(p[:min(len(p), 8*kib)])
}

type burstChain struct {
	*chainFake
	asked atomic.Bool
}

func (c *burstChain) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	if req.Options.Speculative {
		c.asked.Store(true)
		return pullchain.Response{}, &pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeThrottle}
	}
	resp, err := c.chainFake.Fetch(ctx, req)
	if err == nil {
		resp.Body = &burstBody{bodyFake: resp.Body.(*bodyFake), asked: &c.asked}
	}
	return resp, err
}

// A claim that is cut while its worker is in Read, by a helper that is refused:
// the worker goes on with its body as if it had not read past the cut.
func TestCutDuringReadShiftsNoBytes(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(264*kib, 1), func(t *testing.T, r *fillRig) {
		c := &burstChain{chainFake: r.chain}
		r.reg.Next = c
		r.mustGet(whole)
		r.settled(true)
		if !c.asked.Load() {
			t.Fatal("no helper was asked: the test shows nothing")
		}
		if len(r.chain.blamed) > 0 {
			t.Errorf("blamed %v, who sent right bytes", r.chain.blamed)
		}
		r.sentAtMost(int64(float64(len(r.chain.content)) * 1.05))
		t.Logf("mismatches %d, sent %d", r.fills.Snapshot().Mismatches, r.chain.sent.Load())
	})
}

// The first request asks for a part, the lane sends the whole of unknown size,
// and the blob is shorter than what is asked for at least.
func TestUnknownSmallByRange(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(10*kib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, req pullchain.Request) reply {
			return reply{unknown: true, ignores: n == 0}
		}
		if err := r.get(pullchain.Range{From: 0, To: 100}); err != nil {
			t.Errorf("%v", err)
		}
		if n := len(r.chain.requests()); n != 1 {
			t.Errorf("%d requests: %+v", n, r.chain.requests())
		}
		r.settled(true)
	})
}

// A slowSpool is one that takes its time to read back.
type slowSpool struct {
	spool
	gate chan struct{}
}

func (s slowSpool) ReadAt(p []byte, off int64) (int, error) {
	<-s.gate
	return s.spool.ReadAt(p, off)
}

// All is there, the hash lags, and the process is told to end.
func TestCloseKeepsWhatIsAllThere(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(8*mib, 1), func(t *testing.T, r *fillRig) {
		open := r.fills.open
		gate := make(chan struct{})
		r.fills.open = func(d digest.Digest) (backing, error) {
			b, err := open(d)
			b.spool = slowSpool{b.spool, gate}
			return b, err
		}
		resp, err := r.fetch(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		go func() { time.Sleep(time.Second); close(gate) }()
		resp.Body.Close()
		sent := r.chain.sent.Load()
		r.restart()
		r.mustGet(whole)
		if more := r.chain.sent.Load() - sent; more > mib {
			t.Errorf("%d bytes were fetched again of %d that were all there", more, sent)
		}
	})
}

// A cold range while the fill has all the workers that it may have.
func TestColdRangeBesideManyHelpers(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(100*mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, req pullchain.Request) reply { return reply{rate: 256 * kib} }
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			resp, err := r.fetch(ctx, whole)
			if err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		began := time.Now()
		rng := pullchain.Range{From: 98 * mib, To: 98*mib + 1000}
		if err := r.get(rng); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("a cold range of 1000 bytes took %v", took)
		}
		cancel()
		wg.Wait()
	})
}

// The lane ignores ranges, as its first answer shows.
func TestIgnoredRangeIsLearntFromTheFirstAnswer(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(16*mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, req pullchain.Request) reply {
			if req.Options.Speculative {
				return reply{err: errBusy}
			}
			return reply{ignores: true, rate: mib}
		}
		if err := r.get(pullchain.Range{From: 10 * mib, To: 10*mib + 1000}); err != nil {
			t.Error(err)
		}
		for _, req := range r.chain.requests()[1:] {
			if !req.Options.Speculative {
				t.Errorf("asked again: %+v", req.Range)
			}
		}
	})
}

// A lane that ignores ranges and dies at the same byte each time brings nothing
// new, however much it sends.
func TestNoProgressEnds(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, req pullchain.Request) reply {
			return reply{wait: 50 * time.Millisecond, ignores: true, cut: 300 * kib}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		resp, err := r.fetch(ctx, whole)
		if err == nil {
			err = r.read(resp, whole)
			resp.Body.Close()
		}
		t.Log(err)
		time.Sleep(5 * time.Minute) // nobody reads any more
		synctest.Wait()
		if n := len(r.chain.requests()); n > 20 {
			t.Errorf("%d requests, %d MiB for a blob of 1 MiB that nobody reads", n, r.chain.sent.Load()>>20)
		}
	})
}

// A resetSpool is on a disk that has no room, or no descriptor, for a new file.
type resetSpool struct{ spool }

func (resetSpool) Reset() error { return syscall.ENOSPC }

// What an earlier attempt left is of another size, and its file cannot be
// replaced: the fill has no disk, and says so to all who wait.
func TestResetFailsAtFirstAnswer(t *testing.T) {
	t.Parallel()
	for range 20 {
		fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
			sp, err := r.store.Spool(t.Context(), r.chain.digest)
			if err != nil {
				t.Fatal(err)
			}
			_ = sp.SetSize(2 * mib)
			_, _ = sp.WriteAt(make([]byte, 100*kib), 0)
			_ = sp.Record(extent(0, 100*kib))
			if err := sp.Suspend(); err != nil {
				t.Fatal(err)
			}
			open := r.fills.open
			r.fills.open = func(d digest.Digest) (backing, error) {
				b, err := open(d)
				b.spool = resetSpool{b.spool}
				return b, err
			}
			r.chain.answer = func(int, pullchain.Request) reply { return reply{wait: time.Millisecond} }
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			resp, err := r.fetch(ctx, whole)
			if err != nil {
				t.Errorf("fetch: %v", err)
				return
			}
			if err := r.read(resp, whole); err != nil {
				t.Errorf("read: %v (%s)", err, resp.Cache)
			}
			resp.Body.Close()
		})
		if t.Failed() {
			return
		}
	}
}

// A cold range whose first fetch fails, while another connection is silent.
func TestCrowdedIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(16*mib, 1), func(t *testing.T, r *fillRig) {
		failed := false
		r.chain.answer = func(n int, req pullchain.Request) reply {
			switch {
			case req.Options.Speculative:
				return reply{err: errBusy}
			case n == 0:
				return reply{rate: mib, stall: 2 * mib}
			case !failed:
				failed = true
				return reply{err: &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError, Status: 503}}
			}
			return reply{}
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			resp, err := r.fetch(t.Context(), whole)
			if err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
		time.Sleep(1900 * time.Millisecond)
		began := time.Now()
		if err := r.get(pullchain.Range{From: 12 * mib, To: 12*mib + 1000}); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > backoffTime+time.Second {
			t.Errorf("it took %v", took)
		}
		wg.Wait()
	})
}
