package fill

import (
	"fmt"
	"hash"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
)

// holdBack is how much of a blob's end is kept from its readers until the digest
// is known to be right, so that no reader ever holds a complete wrong blob. Of one
// that is not larger than holdAll, all is (FAULTS.md F20).
const (
	holdBack = 64 << 10
	holdAll  = 256 << 10
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

// verify hashes the copy along its contiguous prefix, reading it back from the
// file, and returns the result once all is there, with what is wrong. It also
// tells the disk's journal what has been written: only the goroutine of run does,
// as the spool demands.
func (f *fill) verify() (result, error) {
	sum := f.digest.Algorithm().Hash()
	for at := int64(0); ; {
		to, done := f.hashable(at)
		if done {
			return f.compare(sum)
		}
		if err := f.record(); err != nil {
			f.detach(err)
			return noResult, nil
		}
		n, err := f.hashSome(sum, at, to)
		if err != nil {
			f.detach(err)
			return noResult, nil
		}
		at += n
	}
}

// hashable waits until there is something beyond at to hash or to record, and
// returns where it ends. It is done at the end of the blob or of the fill.
func (f *fill) hashable(at int64) (to int64, done bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if f.ctx.Err() != nil || f.abandonedLocked() {
			f.closing = f.closing || !f.phase.final()
			return at, true
		}
		if f.phase.final() {
			return at, true
		}
		to = at
		if f.phase == running {
			to = f.copy.have.reach(at)
		}
		if to > at || len(f.copy.journal) > 0 {
			return to, false
		}
		if f.phase == running && to == f.copy.size {
			return to, true
		}
		f.waitLocked(f.ctx.Done())
	}
}

func (f *fill) hashSome(sum hash.Hash, at, to int64) (int64, error) {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	n := min(to-at, bufferSize)
	if err := readFull(f.copy.back, buf[:n], at); err != nil {
		return 0, fmt.Errorf("reading back: %w", err)
	}
	sum.Write(buf[:n])
	return n, nil
}

// compare compares the digest of the copy, of which all is there, with the one
// that was asked for. There is no result where the fill has ended before.
func (f *fill) compare(sum hash.Hash) (result, error) {
	got := digest.NewDigest(f.digest.Algorithm(), sum)
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
