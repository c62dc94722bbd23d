package blobstore

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
)

// A Spool is a blob on its way in. WriteAt, ReadAt and Reader are safe for
// concurrent use, the others belong to one goroutine at a time. It ends with
// exactly one of Commit, Suspend and Discard; after that its methods return
// os.ErrClosed.
type Spool struct {
	ctx    context.Context // kept, because WriteAt is io.WriterAt's and has none
	store  *Store
	digest digest.Digest
	place  place

	entry   *partial     // in the store's index, guarded by Store.mu
	counted atomic.Int64 // entry.bytes, to read without the lock
	written atomic.Int64 // bytes

	size    int64 // -1: not known
	extents []Extent
	journal *journal

	mu   sync.RWMutex // guards file against being swapped and closed, and its path against a new name
	file *os.File     // nil: ended
}

var _ io.ReaderAt = (*Spool)(nil)

// Spool opens the file of a blob on its way in: what an earlier attempt left, or
// a new one. Only one Spool of a digest may be open at a time. Errors are ErrFull,
// ErrReadOnly or the system's. As for Put, ctx bounds the waits for the directory
// to be read, those of the Spool's methods too, and nothing else: a Spool may be
// committed or suspended after it has ended.
func (s *Store) Spool(ctx context.Context, d digest.Digest) (*Spool, error) {
	place, err := s.place(d)
	if err != nil {
		return nil, err
	}
	if err := s.ready(); err != nil {
		return nil, err
	}
	sp := &Spool{ctx: ctx, store: s, digest: d, place: place, size: -1}
	if err := s.retry(ctx, 0, sp.open); err != nil {
		return nil, err
	}
	return sp, nil
}

// open opens the files, and takes the digest's place in the index.
func (sp *Spool) open() error {
	s := sp.store
	name := s.name(sp.digest)
	name.Lock()
	defer name.Unlock()

	s.mu.Lock()
	p := s.index.partials[sp.digest]
	s.mu.Unlock()
	if p != nil && p.open {
		return fmt.Errorf("%s is being fetched already", sp.digest)
	}
	f, err := s.disk.create(sp.place.part, 0)
	if err != nil {
		return err
	}
	if err := sp.resume(f); err != nil {
		_ = f.Close()
		return err
	}
	sp.file = f
	left := covered(sp.extents)
	sp.written.Store(left)
	sp.counted.Store(left)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.dropPartial(sp.digest) // counted anew
	sp.entry = &partial{bytes: left, size: sp.size, written: time.Now(), open: true, spool: sp}
	s.index.partials[sp.digest] = sp.entry
	s.index.partBytes += left
	return nil
}

// resume reads what an earlier attempt left in f. Its journal is written anew,
// shorter, and without the torn line that a kill may have left.
func (sp *Spool) resume(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	sp.size, sp.extents = sp.store.disk.readJournal(sp.place.log)
	sp.extents = clip(sp.extents, st.Size())
	if len(sp.extents) == 0 {
		if err := f.Truncate(0); err != nil {
			return err
		}
	}
	sp.journal, err = sp.store.startJournal(sp.place.log, sp.size, sp.extents)
	return err
}

// Size returns the blob's size as an earlier attempt or SetSize told it, or -1.
func (sp *Spool) Size() int64 { return sp.size }

// Extents returns what an earlier attempt left, and what was recorded since,
// sorted and disjoint.
func (sp *Spool) Extents() []Extent { return slices.Clone(sp.extents) }

// SetSize tells how large the blob is going to be and makes room for it; ErrFull
// if there is none. The spool stays usable all the same.
func (sp *Spool) SetSize(size int64) error {
	if size < 0 {
		return fmt.Errorf("a size of %d", size)
	}
	if sp.file == nil {
		return os.ErrClosed
	}
	if size != sp.size {
		err := sp.store.retry(sp.ctx, 0, func() error { return sp.journal.append(line{Size: &size}) })
		if err != nil {
			return err
		}
		sp.size = size
		sp.extents = clip(sp.extents, size)
		sp.store.mu.Lock()
		sp.entry.size = size
		sp.store.mu.Unlock()
	}
	return sp.grow(size)
}

// grow sees to it that size bytes are counted and may be written.
func (sp *Spool) grow(size int64) error {
	if size <= sp.counted.Load() {
		return nil
	}
	s := sp.store
	if err := s.fits(size); err != nil {
		return err
	}
	s.mu.Lock()
	more := size - sp.entry.bytes
	s.mu.Unlock()
	if more <= 0 {
		return nil
	}
	return s.claim(sp.ctx, more, sp.countLocked)
}

// countLocked counts n more bytes, while the spool is open. s.mu is held.
func (sp *Spool) countLocked(n int64) {
	if sp.entry.spool != sp {
		return
	}
	sp.entry.bytes += n
	sp.counted.Store(sp.entry.bytes)
	sp.store.index.partBytes += n
}

// WriteAt writes p at off. A full disk is met by evicting, once, before it is
// ErrFull (docs/faults.md F33).
func (sp *Spool) WriteAt(p []byte, off int64) (int, error) {
	if err := sp.grow(off + int64(len(p))); err != nil {
		return 0, err
	}
	// A read lock: pieces of one blob are written at once, and only Reset and the
	// end of the Spool have to have the file to themselves.
	sp.mu.RLock()
	defer sp.mu.RUnlock()
	if sp.file == nil {
		return 0, os.ErrClosed
	}
	n := 0 // what the first try has written is not written twice
	err := sp.store.retry(sp.ctx, int64(len(p)), func() error {
		m, err := sp.store.disk.writeAt(sp.file, p[n:], off+int64(n))
		n += m
		return err
	})
	sp.written.Add(int64(n))
	return n, err
}

// Record journals that the bytes of e are written. What is not recorded is
// fetched again after a restart, so that callers record about every MiB, and when
// they stop.
func (sp *Spool) Record(e Extent) error {
	if e.From < 0 || e.From > e.To {
		return fmt.Errorf("an extent from %d to %d", e.From, e.To)
	}
	if sp.journal == nil {
		return os.ErrClosed
	}
	sp.extents = overlay(sp.extents, e)
	l := line{From: e.From, To: e.To, Source: e.Source}
	return sp.store.retry(sp.ctx, 0, func() error { return sp.journal.append(l) })
}

// ReadAt reads what has been written.
func (sp *Spool) ReadAt(p []byte, off int64) (int, error) {
	sp.mu.RLock()
	defer sp.mu.RUnlock()
	if sp.file == nil {
		return 0, os.ErrClosed
	}
	return sp.file.ReadAt(p, off)
}

// Reader returns the file with an offset of its own, at 0, for sendfile. The
// caller closes it; it stays readable after the Spool has ended.
func (sp *Spool) Reader() (*os.File, error) {
	sp.mu.RLock()
	defer sp.mu.RUnlock()
	if sp.file == nil {
		return nil, os.ErrClosed
	}
	return sp.store.disk.open(sp.place.part)
}
