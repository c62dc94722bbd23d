package blobstore

import (
	"container/list"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/opencontainers/go-digest"
)

// A simulated index is one without files: what is not there is added, and what is
// over the limit goes.
type simulation struct{ index index }

func newSimulation(limit int64) *simulation {
	return &simulation{index{objects: map[digest.Digest]*entry{}, placed: true, limit: limit}}
}

// get asks for d, and reports whether it was there.
func (s *simulation) get(d digest.Digest, size int64) bool {
	if e := s.index.objects[d]; e != nil {
		e.freq = min(e.freq+1, maxFreq)
		return true
	}
	for s.index.bytes+size > s.index.limit {
		if s.index.victim() == nil {
			return false
		}
	}
	s.index.add(&entry{Info: Info{Digest: d, Size: size}})
	return false
}

// An lru is what s3fifo is measured against.
type lru struct {
	at           map[digest.Digest]*list.Element
	order        list.List
	bytes, limit int64
}

type lruEntry struct {
	digest digest.Digest
	size   int64
}

func (l *lru) get(d digest.Digest, size int64) bool {
	if e := l.at[d]; e != nil {
		l.order.MoveToFront(e)
		return true
	}
	for l.bytes+size > l.limit {
		last := l.order.Remove(l.order.Back()).(lruEntry)
		delete(l.at, last.digest)
		l.bytes -= last.size
	}
	l.at[d] = l.order.PushFront(lruEntry{d, size})
	l.bytes += size
	return false
}

// A working set that is used again and again, and between two of its rounds a
// flood of content that is asked for once: twice as much as there is room.
func TestFloodOfOneTimers(t *testing.T) {
	t.Parallel()
	const limit, size = 300 * 10, 10
	hits := func(get func(digest.Digest, int64) bool) (hits, asked int) {
		for round := range 10 {
			for i := range 150 { // half of the room
				asked++
				if get(digest.Digest("set "+strconv.Itoa(i)), size) {
					hits++
				}
			}
			for i := range 600 {
				if round > 0 { // used twice before the first flood
					get(digest.Digest(fmt.Sprintf("flood %d %d", round, i)), size)
				}
			}
		}
		return hits, asked
	}
	ours, asked := hits(newSimulation(limit).get)
	theirs, _ := hits((&lru{at: map[digest.Digest]*list.Element{}, limit: limit}).get)
	t.Logf("working set hit ratio: S3-FIFO %.2f, LRU %.2f", float64(ours)/float64(asked), float64(theirs)/float64(asked))
	if want := asked - 150; ours != want {
		t.Errorf("%d hits of %d, want %d: all but the first round", ours, asked, want)
	}
	if theirs > asked/5 {
		t.Errorf("LRU has %d hits: the flood is too small to tell the two apart", theirs)
	}
}

// Pulls as a registry sees them: few images are pulled often, most once.
func TestHitRatioOfSkewedPulls(t *testing.T) {
	t.Parallel()
	const asked = 40_000
	run := func(get func(digest.Digest, int64) bool) float64 {
		rng := rand.New(rand.NewPCG(1, 2))
		zipf := rand.NewZipf(rng, 1.1, 10, 10_000)
		hits := 0
		for i := range asked {
			n := zipf.Uint64()
			d := digest.Digest(strconv.FormatUint(n, 10))
			if i%3 == 0 { // one-timers
				n = uint64(i) * 7919
				d = digest.Digest("once " + strconv.Itoa(i))
			}
			if get(d, 1+int64(n*2654435761%1000)) {
				hits++
			}
		}
		return float64(hits) / asked
	}
	for _, limit := range []int64{100_000, 300_000, 1_000_000} {
		ours := run(newSimulation(limit).get)
		theirs := run((&lru{at: map[digest.Digest]*list.Element{}, limit: limit}).get)
		t.Logf("room for about %d objects: hit ratio S3-FIFO %.3f, LRU %.3f", limit/500, ours, theirs)
		if ours <= theirs {
			t.Errorf("limit %d: S3-FIFO %.3f is no better than LRU %.3f", limit, ours, theirs)
		}
	}
}

// Whatever happens, the sums are right, and what is pinned or held stays.
func TestIndexProperty(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 3))
		limit := 500 + rng.Int64N(5000)
		s := newSimulation(limit)
		held := map[*entry]int{}
		for range 500 {
			d := digest.Digest(fmt.Sprint(rng.IntN(200)))
			e := s.index.objects[d]
			switch op := rng.IntN(10); {
			case op < 5:
				s.get(d, 1+rng.Int64N(200))
			case e == nil:
			case op == 5:
				s.index.pin(e, !e.Pinned)
			case op == 6:
				s.index.acquire(e)
				held[e]++
			case op == 7:
				s.index.drop(e)
			}
			for e := range held {
				if rng.IntN(4) == 0 {
					s.index.release(e)
					if held[e]--; held[e] == 0 {
						delete(held, e)
					}
				}
				if e.gone && s.index.objects[e.Digest] == e {
					t.Fatalf("seed %d: gone and there", seed)
				}
			}
			checkIndex(t, seed, &s.index, limit)
		}
		for s.index.victim() != nil {
		}
		for _, e := range s.index.all {
			if !e.busy() {
				t.Fatalf("seed %d: %v could go and does not", seed, e.Digest)
			}
		}
	}
}

// checkIndex counts everything anew.
func checkIndex(t *testing.T, seed uint64, x *index, limit int64) {
	t.Helper()
	var bytes, held, pinned, queued int64
	for i, e := range x.all {
		if e.at != i || x.objects[e.Digest] != e || e.gone {
			t.Fatalf("seed %d: entry %d is not where it says", seed, i)
		}
		bytes += e.Size
		if e.busy() {
			held += e.Size
		}
		if e.Pinned {
			pinned += e.Size
		}
		if e.parked != (e.where == nil) || e.parked && !e.busy() {
			t.Fatalf("seed %d: parked %v, in a queue %v, busy %v", seed, e.parked, e.where != nil, e.busy())
		}
		if e.where != nil {
			queued += e.Size
		}
	}
	if bytes != x.bytes || held != x.busy || pinned != x.pinned || len(x.all) != len(x.objects) ||
		queued != x.fifo.small.bytes+x.fifo.main.bytes || bytes > limit {
		t.Fatalf("seed %d: counted %d (limit %d), %d held, %d pinned, %d queued; the index has %d, %d, %d, %d",
			seed, bytes, limit, held, pinned, queued, x.bytes, x.busy, x.pinned, x.fifo.small.bytes+x.fifo.main.bytes)
	}
}

func TestGhostIsBounded(t *testing.T) {
	t.Parallel()
	var g ghost
	for i := range maxGhosts + 1000 {
		g.add(digest.Digest(strconv.Itoa(i)), 1, 1<<40)
	}
	if len(g.sizes) > maxGhosts || len(g.order) > maxGhosts {
		t.Errorf("%d digests, %d in order", len(g.sizes), len(g.order))
	}
	for i := range 100 {
		g.add(digest.Digest(fmt.Sprint("big", i)), 1000, 5000)
	}
	if g.bytes > 5000 || len(g.sizes) > 5 || !g.take("big99") || g.take("big99") || g.take("big1") {
		t.Errorf("%d bytes, %d digests", g.bytes, len(g.sizes))
	}
}
