package blobstore

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// An entry is an object in the index. Its fields are guarded by Store.mu.
type entry struct {
	Info
	refs  int       // Objects that are open
	right time.Time // when its bytes were last found so; zero: not since it is in the index
	freq  uint8     // uses since it was last looked at for eviction, up to maxFreq
	saved time.Time // the mtime that the file has
	dirty bool      // waiting to have its mtime written
	gone  bool      // no longer in the index; Objects that are open still have it

	where      *queue // nil: parked, or not placed yet
	parked     bool   // its turn to be evicted came while it was busy
	prev, next *entry
	at         int // in index.all
}

// busy reports whether e must not be evicted.
func (e *entry) busy() bool { return e.refs > 0 || e.Pinned }

// An index is what the store has, in memory. The files are the truth; the index
// saves looking at them. It is guarded by Store.mu.
type index struct {
	objects map[digest.Digest]*entry
	all     []*entry // the same, for walking without the lock
	bytes   int64
	busy    int64 // bytes of entries that are busy
	pinned  int64
	fifo    s3fifo
	placed  bool // the scan is over: everything has its place in a queue

	limit     int64 // of all that counts: see total
	partials  map[digest.Digest]*partial
	partBytes int64                      // of partials
	incoming  int64                      // of Puts under way
	lost      map[digest.Digest]struct{} // taken out, though their files could not be removed
	unpinned  map[digest.Digest]struct{} // pinned, and quarantined: pinned again when the content comes back
	evictions uint64
	forDisk   uint64 // of those, because the disk was full
}

func newIndex() index {
	return index{
		objects:  make(map[digest.Digest]*entry),
		partials: make(map[digest.Digest]*partial),
		lost:     make(map[digest.Digest]struct{}),
		unpinned: make(map[digest.Digest]struct{}),
	}
}

// add takes in an entry that is not there yet.
func (x *index) add(e *entry) {
	x.objects[e.Digest] = e
	e.at = len(x.all)
	x.all = append(x.all, e)
	x.bytes += e.Size
	if e.busy() {
		x.busy += e.Size
	}
	if e.Pinned {
		x.pinned += e.Size
	}
	if x.placed {
		x.fifo.admit(e)
	}
}

// takeIn puts a file that has got its name into the index.
func (x *index) takeIn(d digest.Digest, size int64, meta Meta) {
	now := time.Now()
	e := &entry{Info: Info{Meta: meta, Digest: d, Size: size, Used: now, Verified: true}, saved: now}
	delete(x.lost, d)
	delete(x.unpinned, d)
	if old := x.objects[d]; old != nil {
		x.drop(old)
		e.freq = max(old.freq, 1) // it has been asked for before
	}
	x.add(e)
}

// placeAll puts everything that was found into the queues, in the order of last
// use: what was used after the pull that brought it into main, everything else into
// small.
func (x *index) placeAll() {
	x.placed = true
	found := slices.Clone(x.all)
	slices.SortFunc(found, func(a, b *entry) int {
		return cmp.Or(a.Used.Compare(b.Used), strings.Compare(string(a.Digest), string(b.Digest)))
	})
	for _, e := range found {
		if e.freq > 0 || e.Used.Sub(e.Added) > samePull {
			x.fifo.main.push(e)
		} else {
			x.fifo.small.push(e)
		}
		e.freq = 0
	}
}

// drop takes e out.
func (x *index) drop(e *entry) {
	delete(x.objects, e.Digest)
	last := x.all[len(x.all)-1]
	x.all[e.at], last.at = last, e.at
	x.all[len(x.all)-1] = nil
	x.all = x.all[:len(x.all)-1]
	x.bytes -= e.Size
	if e.busy() {
		x.busy -= e.Size
	}
	if e.Pinned {
		x.pinned -= e.Size
	}
	if e.where != nil {
		e.where.remove(e)
	}
	e.gone, e.parked = true, false
}

// acquire notes a reader of e.
func (x *index) acquire(e *entry) {
	if !e.busy() && !e.gone {
		x.busy += e.Size
	}
	e.refs++
}

// release undoes acquire.
func (x *index) release(e *entry) {
	e.refs--
	if !e.busy() && !e.gone {
		x.busy -= e.Size
		x.unpark(e)
	}
}

// pin notes whether e is pinned.
func (x *index) pin(e *entry, pinned bool) {
	if e.gone || e.Pinned == pinned {
		e.Pinned = pinned
		return
	}
	wasBusy := e.busy()
	e.Pinned = pinned
	if pinned {
		x.pinned += e.Size
	} else {
		x.pinned -= e.Size
	}
	switch {
	case !wasBusy && e.busy():
		x.busy += e.Size
	case wasBusy && !e.busy():
		x.busy -= e.Size
		x.unpark(e)
	}
}

// unpark gives e a place again: it was in use when its turn came, which is what
// the main queue is for.
func (x *index) unpark(e *entry) {
	if e.parked {
		e.parked = false
		x.fifo.main.push(e)
	}
}

// use counts a use of e.
func (e *entry) use(now time.Time) {
	if now.After(e.Used) {
		e.Used = now
	}
	if e.freq < maxFreq {
		e.freq++
	}
}

// victim takes what may go first out of the index, or returns nil when all that
// is left is pinned or being read.
func (x *index) victim() *entry {
	e := x.fifo.victim(x.limit)
	if e != nil {
		x.drop(e)
	}
	return e
}
