package cache

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
)

// A fill is one blob being fetched: a file, a map of the ranges that it has, and
// any number of readers at any offset. Workers bring the missing ranges, demanded
// ones first; the goroutine of run hashes what is there and owns the file's life.
//
// Nothing that waits or does I/O holds mu. Every change that somebody may wait
// for is followed by wakeLocked.
type fill struct {
	s      *fills
	digest digest.Digest
	gone   chan struct{} // closed when the file is let go of: another fill may begin
	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex
	wake     chan struct{} // closed by the next change; nil when nobody waits
	reg      *registry     // through which to fetch: of the latest client of the same repository
	req      pullchain.Request
	by       repoKey // for whom it is fetched; zero if the store's own word has to do
	state    state
	err      error  // why the fill failed, or why the disk could not take it
	ending   bool   // nobody may join any more
	halted   bool   // no worker may begin
	answered bool   // an upstream has said that it has the blob, and whether it took a login
	private  bool   // it took a login to get the copy at hand, or a part of it
	login    string // the last one that it took
	known    bool   // to be public, from before; then private stays false
	resumed  bool   // what an earlier attempt left is in the copy: who knows what that took
	back     backing
	swap     bool // back is being replaced

	size     int64 // of the blob; -1 if unknown
	fresh    bool  // no upstream has confirmed size for this copy yet
	copy     int   // how many files proved wrong before this one
	wrong    int   // how many of them came from upstreams
	single   bool  // one stream fetches it all, so that one lane answers for it
	have     ranges
	ask      pullchain.Range // what to ask for while the size is not known
	from     string          // who named the size of this copy
	broke    bool            // and nobody could send as much since
	journal  []blobstore.Extent
	avoid    []string  // who has sent parts of copies that proved wrong
	suspects []suspect // copies that several have sent

	workers   []*worker
	readers   map[*reader]struct{}
	fails     int       // fetches in a row that brought nothing
	hadAtFail int64     // bytes, when the last of them failed
	crowded   time.Time // until then nobody is asked for another range beside those that flow
	noRange   bool      // a lane has answered with the whole where a range was wanted
	growth    growth
	trace     []*leg
}

// state says what a reader may expect of a fill.
type state uint8

const (
	opening  state = iota // no upstream has answered
	running               // size (or that it is unknown) and privacy are known
	proved                // all is there, and right
	failed                // err says why nothing more will come
	detached              // the disk takes no more: readers go on by themselves
)

func newFill(s *fills, reg *registry, req pullchain.Request) *fill {
	f := &fill{
		s:       s,
		digest:  req.Digest,
		gone:    make(chan struct{}),
		reg:     reg,
		req:     req,
		by:      repoKey{reg.name, req.Repo},
		size:    -1,
		fresh:   true,
		readers: make(map[*reader]struct{}),
	}
	f.ctx, f.cancel = context.WithCancel(s.ctx)
	return f
}

// wakeLocked wakes everybody who waits for a change.
func (f *fill) wakeLocked() {
	if f.wake != nil {
		close(f.wake)
		f.wake = nil
	}
}

// waitLocked waits for a change, or until done. It lets go of mu meanwhile.
func (f *fill) waitLocked(done <-chan struct{}) {
	if f.wake == nil {
		f.wake = make(chan struct{})
	}
	wake := f.wake
	f.mu.Unlock()
	select {
	case <-wake:
	case <-done:
	}
	f.mu.Lock()
}

// endLocked gives the fill its final state, once.
func (f *fill) endLocked(to state, err error) {
	if f.state == proved || f.state == failed || f.state == detached {
		return
	}
	f.state, f.err = to, err
	f.haltLocked()
}

// haltLocked stops the workers and lets no other begin.
func (f *fill) haltLocked() {
	f.halted = true
	for _, w := range f.workers {
		w.cancel()
	}
	f.wakeLocked()
}

// detach takes the fill off a disk that takes no more (FAULTS.md F33).
func (f *fill) detach(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.endLocked(detached, err)
}

// run is the life of the fill.
func (f *fill) run() {
	defer f.s.remove(f)
	defer f.cancel()
	defer f.dropSuspects()
	if !f.begin() {
		return
	}
	for {
		verdict, err := f.prove()
		switch {
		case verdict == right:
			f.keep()
			return
		case verdict == wrong && f.another(err):
			continue
		}
		f.giveUp()
		return
	}
}

// begin opens the file and starts the first worker. It returns false when there
// is no file to be had.
func (f *fill) begin() bool {
	back, err := f.s.open(f.digest)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.ending = true
		f.endLocked(detached, err)
		return false
	}
	f.back = back
	switch {
	case back.object != nil:
		f.takeObjectLocked()
		return true
	case f.resumeLocked():
	default: // of no use without a size
		f.mu.Unlock()
		err = back.spool.Reset()
		f.mu.Lock()
		if err != nil {
			f.endLocked(detached, err)
			return true
		}
	}
	f.startFirstLocked()
	f.s.wg.Go(f.speedUp)
	return true
}

// takeObjectLocked makes a fill of which everything is there.
func (f *fill) takeObjectLocked() {
	o := f.back.object
	f.size, f.private, f.known, f.state = o.Size, !o.Public, o.Public, running
	if _, ok := o.Repos[f.by.String()]; f.private && !ok {
		f.by = repoKey{}
	}
	f.have.add(0, f.size, "")
	if o.Verified {
		f.state = proved
	}
	f.wakeLocked()
}

// resumeLocked takes over what an earlier attempt left (FAULTS.md F35). Whoever
// sent it is not to blame for what a disk may have done to it since. It returns
// false if that is of no use.
func (f *fill) resumeLocked() bool {
	extents := f.back.spool.Extents()
	if len(extents) == 0 {
		return true
	}
	f.size = f.back.spool.Size()
	if f.size < 0 {
		return false
	}
	f.resumed = true
	for _, e := range extents {
		from := f.have.reach(max(e.From, 0))
		f.have.add(from, min(e.To, f.size), "")
	}
	if f.have.total == f.size {
		// Only an answer says that this repository has the blob, so that
		// something has to be asked for.
		f.have.trim(f.size - min(holdBack, f.size))
	}
	return true
}

// limitLocked is the blob's end as far as it is known.
func (f *fill) limitLocked() int64 {
	if f.size < 0 {
		return math.MaxInt64
	}
	return f.size
}
