package fill

import (
	"fmt"
	"hash"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/holdback"
)

// holdBack is how much of a blob's end is kept from its readers until the digest
// is known to be right, so that no reader ever holds a complete wrong blob. Of one
// that is not larger than holdAll, all is: image configurations and small layers
// come within a round trip or two anyway, and no byte and no header of a wrong one
// leaves at all (docs/faults.md F20).
//
// What the store has is all there, so that hashing it costs no more than reading it:
// of an object up to holdStored no byte leaves before its first reader since the start
// has seen it proved, and one that the disk has spoilt costs that reader a fetch
// and not a pull (docs/faults.md F34).
const (
	holdBack   = holdback.Tail
	holdAll    = 256 << 10
	holdStored = 8 << 20
)

// bufferSize is what is read and written at once.
const bufferSize = 128 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// A result is what hashing a copy has come to.
type result uint8

const (
	noResult result = iota // the fill has ended without one
	right                  // the bytes are the digest's
	wrong
)

// A hasher hashes a copy along its contiguous prefix while it grows, reading it back
// from the file. It belongs to the goroutine of the fill.
type hasher struct {
	f   *fill
	sum hash.Hash
	at  int64 // up to here it has read
}

// verify returns the result once all of the copy at hand is there, with what is
// wrong. It also tells the disk's journal what has been written: only the goroutine
// of run does, as the spool demands.
func (f *fill) verify() (result, error) {
	h := hasher{f: f, sum: f.digest.Algorithm().Hash()}
	for {
		to, done := h.more()
		if done {
			return h.compare()
		}
		if err := f.record(); err != nil {
			f.detach(err)
			return noResult, nil
		}
		if err := h.read(to); err != nil {
			f.detach(err)
			return noResult, nil
		}
	}
}

// more waits until there is something to hash or to record, and returns where it
// ends. It is done at the end of the blob or of the fill.
func (h *hasher) more() (to int64, done bool) {
	f := h.f
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if f.ctx.Err() != nil || f.abandonedLocked() {
			f.closing = f.closing || !f.phase.final()
			return h.at, true
		}
		if f.phase.final() {
			return h.at, true
		}
		to = h.at
		if f.phase == running {
			to = f.copy.have.reach(h.at)
		}
		if to > h.at || len(f.copy.journal) > 0 {
			return to, false
		}
		if f.phase == running && f.copy.described() && to == f.copy.size {
			return to, true
		}
		f.changes.wait(&f.mu, f.ctx.Done())
	}
}

// read hashes a buffer's worth of what ends at to.
func (h *hasher) read(to int64) error {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	n := min(to-h.at, bufferSize)
	if err := readFull(h.f.copy.back, buf[:n], h.at); err != nil {
		return fmt.Errorf("reading back: %w", err)
	}
	h.sum.Write(buf[:n])
	h.at += n
	return nil
}

// compare compares the digest of the copy, of which all is there, with the one
// that was asked for. There is no result where the fill has ended before.
func (h *hasher) compare() (result, error) {
	f := h.f
	got := digest.NewDigest(f.digest.Algorithm(), h.sum)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing || f.phase == failed || f.phase == detached {
		return noResult, nil
	}
	if f.phase != verified && got != f.digest {
		f.fills.counts.mismatches.Add(1)
		return wrong, mismatched("asked for %s, got %s", f.digest, got)
	}
	if f.repairs.copies > 0 {
		f.fills.counts.repaired.Add(1)
	}
	f.enterLocked(verified, nil)
	return right, nil
}

func mismatched(format string, args ...any) *pullchain.Error {
	return &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeDigestMismatch, Err: fmt.Errorf(format, args...)}
}

// record puts into the journal what has been written since the last time.
func (f *fill) record() error {
	f.mu.Lock()
	c := f.copy
	extents := c.journal
	c.journal = nil
	f.mu.Unlock()
	return c.record(extents)
}
