package fill

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
)

// A countedSpool notes what is written to a spool.
type countedSpool struct {
	spool
	mu     sync.Mutex
	writes []run
}

func (s *countedSpool) WriteAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	s.writes = append(s.writes, run{from: off, to: off + int64(len(p))})
	s.mu.Unlock()
	return s.spool.WriteAt(p, off)
}

// counted lets the rig's fills write through a countedSpool.
func (r *fillRig) counted() *countedSpool {
	c := &countedSpool{}
	open := r.fills.open
	r.fills.open = func(d digest.Digest) (backing, error) {
		back, err := open(d)
		if back.spool != nil {
			c.spool = back.spool
			back.spool = c
		}
		return back, err
	}
	return c
}

// TestGather: what comes in packets is written in large pieces that end where
// large pages do, wherever they begin.
func TestGather(t *testing.T) {
	t.Parallel()
	const size, odd = 4*mib + 1000, mib + 999
	for name, rng := range map[string]pullchain.Range{"whole": whole, "from an odd place": {From: odd}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fillBubble(t, noise(size, 1), func(t *testing.T, r *fillRig) {
				spool := r.counted()
				r.chain.answer = func(int, pullchain.Request) reply { return reply{rate: 1 << 30, chunk: 1400} }
				r.mustGet(rng)
				r.settled(true)
				for _, w := range spool.writes {
					if w.to%gatherSmall != 0 && w.to != size && w.to != odd {
						t.Errorf("[%d, %d) is written at once", w.from, w.to)
					}
				}
				if n, most := len(spool.writes), size/gatherStep+5; n > most {
					t.Errorf("%d writes, want %d at most", n, most)
				}
				if n := r.fills.large.Load(); n != 0 {
					t.Errorf("%d large buffers are still in use", n)
				}
			})
		})
	}
}

// TestGatherUnread: where nobody waits for the bytes, they are written in pieces
// as large as the buffer.
func TestGatherUnread(t *testing.T) {
	t.Parallel()
	const size = 8 * mib
	fillBubble(t, noise(size, 1), func(t *testing.T, r *fillRig) {
		spool := r.counted()
		r.chain.answer = func(int, pullchain.Request) reply { return reply{rate: 1 << 30, chunk: 16 * kib} }
		resp, err := r.fetch(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close() // the rest is so little that it is fetched all the same
		r.settled(true)
		if n, most := len(spool.writes), size/gatherLarge+4; n > most {
			t.Errorf("%d writes, want %d at most", n, most)
		}
	})
}

// TestTrickle: a reader of what comes slowly has it a moment later.
func TestTrickle(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(holdAll+holdBack, 1), func(t *testing.T, r *fillRig) {
		const rate = 3 * kib
		r.chain.answer = func(_ int, req pullchain.Request) reply {
			if req.Options.Speculative {
				return reply{err: errBusy}
			}
			return reply{rate: rate, chunk: 100}
		}
		resp, err := r.fetch(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		buf := make([]byte, 4*kib)
		for got := 0; got < 32*kib; {
			n, err := resp.Body.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got += n
			if late := int(r.chain.sent.Load()) - got; late > rate/100 {
				t.Fatalf("%d bytes have come, the reader has %d", got+late, got)
			}
		}
	})
}

// A switching body comes from another lane every so many bytes, as the
// balancer's does when one dies.
type switching struct {
	content []byte
	every   int
	pos     int
	lane    string
}

func (s *switching) Read(p []byte) (int, error) {
	if s.pos == len(s.content) {
		return 0, io.EOF
	}
	s.lane = string(rune('a' + s.pos/s.every))
	n := copy(p[:min(len(p), 1400, s.every-s.pos%s.every)], s.content[s.pos:])
	s.pos += n
	return n, nil
}

func (s *switching) Close() error                 { return nil }
func (s *switching) Sections() pullchain.Sections { return nil }
func (s *switching) Source() pullchain.Source {
	return pullchain.Source{Upstream: s.lane, Private: s.lane == "b"}
}
func (s *switching) Attempts() []pullchain.Attempt { return nil }

type fetcherFunc func(context.Context, pullchain.Request) (pullchain.Response, error)

func (f fetcherFunc) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	return f(ctx, req)
}

// TestGatherSources: bytes that were gathered are told apart by who sent them,
// and what a login took is private.
func TestGatherSources(t *testing.T) {
	t.Parallel()
	const size, every = 100 * kib, 33 * kib
	content := noise(size, 1)
	fillBubble(t, content, func(t *testing.T, r *fillRig) {
		r.reg.Next = fetcherFunc(func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
			return pullchain.Response{Status: 200, Digest: req.Digest, Size: size, Body: &switching{content: content, every: every}}, nil
		})
		resp, err := r.fetch(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		f := resp.Body.(*reader).f
		if err := r.read(resp, whole); err != nil {
			t.Error(err)
		}
		want := []run{{0, every, "a"}, {every, 2 * every, "b"}, {2 * every, 3 * every, "c"}, {3 * every, size, "d"}}
		f.mu.Lock()
		got := slices.Clone(f.copy.have.runs)
		f.mu.Unlock()
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(run{})); diff != "" {
			t.Error(diff)
		}
		r.settled(true)
		if info, _ := r.store.Stat(r.chain.digest); info.Public {
			t.Error("what a login took is public")
		}
	})
}

// TestFewLargeBuffers: fast bodies get large buffers as long as there are not many
// of them, and who has become slow gives its back.
func TestFewLargeBuffers(t *testing.T) {
	t.Parallel()
	var used atomic.Int64
	filled := func() *gather { // its small buffer in good time
		g := &gather{used: &used, small: new([gatherSmall]byte), read: gatherSmall}
		g.buf = g.small[:]
		g.resizeLocked()
		return g
	}
	var all []*gather
	for range maxLarge + 8 {
		all = append(all, filled())
	}
	if n := used.Load(); n != maxLarge || all[maxLarge-1].large == nil || all[maxLarge].large != nil {
		t.Errorf("%d large buffers for %d fast bodies, want %d for those who came first", n, len(all), maxLarge)
	}
	all[0].slow = true
	all[0].resizeLocked()
	if all[0].large != nil || used.Load() != maxLarge-1 {
		t.Errorf("a slow body keeps its large buffer: %d in use", used.Load())
	}
	if filled().large == nil {
		t.Error("what a slow body has given back is not to be had")
	}
}
