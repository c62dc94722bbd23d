package fill

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
)

// A fill is one blob being fetched. Workers bring the missing ranges, demanded
// ones first; the goroutine of run hashes what is there and owns the file's life:
// it alone opens, resets, commits and discards it, so that no worker ever writes
// into a file that has become another blob's.
//
// Methods whose names end in Locked, and those of the values that mu guards (the
// copy, the plan, the readers), are called with mu held. Nothing that waits or does
// I/O holds mu. Every change that a reader or worker
// may wait for is followed by changes.notify.
type fill struct {
	fills  *Fills
	digest digest.Digest
	gone   chan struct{} // closed when the file is let go of: another fill may begin
	ctx    context.Context
	cancel context.CancelFunc
	log    attemptLog

	mu      sync.Mutex
	changes changes
	phase   phase
	err     error // why the fill failed, or why the disk could not take it
	closing bool  // no reader may join any more

	origin
	answered bool // an upstream has said that it has the blob, and whether it took a login
	access   access

	copy    *blobCopy
	repairs repairs
	plan    plan
	readers readerSet
	retries retries

	abandonment abandonment
}

// An origin is the request that a fill was begun for.
type origin struct {
	reg *Registry // through which to fetch: of the latest client of the same repository
	req pullchain.Request
	by  Repository // it is fetched for; zero if the store's own word has to do
}

// A phase is what a reader may expect of a fill. The last three are final.
type phase uint8

const (
	opening   phase = iota // no upstream has answered
	running                // size (or that it is unknown) and privacy are known
	replacing              // the copy proved wrong, and another one is about to begin
	verified               // all is there, and right
	failed                 // err says why nothing more will come
	detached               // the disk takes no more: readers go on by themselves
)

// final reports whether nothing more happens. Final phases are never left: a reader
// that has seen one need not look again.
func (p phase) final() bool { return p >= verified }

// halted reports whether no worker may begin or go on.
func (p phase) halted() bool { return p >= replacing }

func newFill(s *Fills, reg *Registry, req pullchain.Request) *fill {
	f := &fill{
		fills:   s,
		digest:  req.Digest,
		gone:    make(chan struct{}),
		origin:  origin{reg, req, RepositoryOf(reg, req)},
		copy:    &blobCopy{size: -1},
		readers: make(readerSet),
	}
	f.plan.f, f.abandonment.f = f, f
	f.ctx, f.cancel = context.WithCancel(s.ctx)
	return f
}

// enterLocked puts the fill into a phase that halts its workers. What is final
// stays.
func (f *fill) enterLocked(to phase, err error) {
	if f.phase.final() {
		return
	}
	f.phase, f.err = to, err
	f.plan.halt()
	f.changes.notify()
}

// detach takes the fill off a disk that takes no more (docs/faults.md F33).
func (f *fill) detach(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.enterLocked(detached, err)
}

// stopWorkers waits until the workers are gone, which the phase has halted.
func (f *fill) stopWorkers() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.plan.workers) > 0 {
		f.changes.wait(&f.mu, nil)
	}
}

// run is the life of the fill.
func (f *fill) run() {
	defer f.fills.remove(f)
	defer f.cancel()
	defer f.repairs.drop()
	if !f.begin() {
		return
	}
	for {
		result, err := f.verify()
		switch {
		case result == right:
			f.keep()
			return
		case result == wrong && f.replace(err):
			continue
		}
		f.giveUp()
		return
	}
}

// begin opens the file and starts the first worker. It returns false when there
// is no file to be had.
func (f *fill) begin() bool {
	back, err := f.fills.open(f.digest)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.closing = true
		f.enterLocked(detached, err)
		return false
	}
	f.copy.back = back
	switch {
	case back.object != nil:
		f.takeObjectLocked()
		return true
	case f.copy.resume():
	default: // what is there is of no use
		f.mu.Unlock()
		err = back.spool.Reset()
		f.mu.Lock()
		if err != nil {
			f.enterLocked(detached, err)
			return true
		}
	}
	f.plan.startFirst()
	f.fills.wg.Go(f.speedUp)
	return true
}

// takeObjectLocked makes a fill of which everything is there, and may have been
// hashed since the start.
func (f *fill) takeObjectLocked() {
	o := f.copy.back.object
	f.copy.takeObject()
	f.access.public, f.access.private = o.Public, !o.Public
	if _, ok := o.Repos[f.by.String()]; f.access.private && !ok {
		f.by = Repository{}
	}
	f.phase = running
	if o.Verified {
		f.phase = verified
	}
	f.changes.notify()
}

// underwayLocked returns what others may know of the fill.
func (f *fill) underwayLocked() Underway {
	return Underway{f.copy.size, f.by, f.access.private, f.access.login}
}
