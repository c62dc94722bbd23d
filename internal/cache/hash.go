package cache

import (
	"fmt"
	"hash"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
)

// holdBack is how much of a blob's end is kept from its readers until the digest
// is known to be right, so that nobody ever holds a complete wrong blob. Of one
// that is not larger than holdAll, all is (FAULTS.md F20).
const (
	holdBack = 64 << 10
	holdAll  = 256 << 10
)

// bufferSize is what is read and written at once.
const bufferSize = 128 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

type verdict uint8

const (
	over  verdict = iota // the fill has ended without one
	right                // the bytes are the digest's
	wrong
)

// prove hashes the copy along its contiguous prefix, reading it back from the
// file, and returns the verdict once all is there, with what is wrong.
func (f *fill) prove() (verdict, error) {
	sum := f.digest.Algorithm().Hash()
	for at := int64(0); ; {
		to, done := f.provable(at)
		switch {
		case done && f.ended():
			return over, nil
		case done:
			return f.judge(sum)
		}
		if err := f.record(); err != nil {
			f.detach(err)
			return over, nil
		}
		n, err := f.hashSome(sum, at, to)
		if err != nil {
			f.detach(err)
			return over, nil
		}
		at += n
	}
}

// provable waits until there is something beyond at to hash or to record, and
// returns where it ends. It is done at the end of the blob or of the fill.
func (f *fill) provable(at int64) (to int64, done bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if f.ctx.Err() != nil || f.state == failed || f.state == detached || f.abandonedLocked() {
			f.ending = f.ending || f.state < proved
			return at, true
		}
		if f.state == proved {
			return at, true
		}
		to = at
		if f.state == running {
			to = f.have.reach(at)
		}
		if to > at || len(f.journal) > 0 {
			return to, false
		}
		if f.state == running && to == f.size {
			return to, true
		}
		f.waitLocked(f.ctx.Done())
	}
}

// ended reports whether the fill ended without all being there.
func (f *fill) ended() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ending || f.state == failed || f.state == detached
}

func (f *fill) hashSome(sum hash.Hash, at, to int64) (int64, error) {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	n := min(to-at, bufferSize)
	if err := readFull(f.back, buf[:n], at); err != nil {
		return 0, fmt.Errorf("reading back: %w", err)
	}
	sum.Write(buf[:n])
	return n, nil
}

// judge compares the digest with the one that was asked for.
func (f *fill) judge(sum hash.Hash) (verdict, error) {
	got := digest.NewDigest(f.digest.Algorithm(), sum)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != proved && got != f.digest {
		f.s.counts.mismatches.Add(1)
		return wrong, mismatch("asked for %s, got %s", f.digest, got)
	}
	if f.copy > 0 {
		f.s.counts.repaired.Add(1)
	}
	f.endLocked(proved, nil)
	return right, nil
}

func mismatch(format string, args ...any) *pullchain.Error {
	return &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeDigestMismatch, Err: fmt.Errorf(format, args...)}
}

// record tells the journal what has been written. Only the goroutine of run does,
// as the spool demands.
func (f *fill) record() error {
	f.mu.Lock()
	extents := f.journal
	f.journal = nil
	f.mu.Unlock()
	for _, e := range extents {
		if err := f.back.spool.Record(e); err != nil {
			return err
		}
	}
	return nil
}
