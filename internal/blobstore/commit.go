package blobstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
)

// Reset forgets everything that was written, because it proved wrong; the size
// stays. Readers that are open keep the old bytes: the Spool goes on in a new
// file, or after an error in the old one.
func (sp *Spool) Reset() error {
	s := sp.store
	if sp.file == nil {
		return os.ErrClosed
	}
	// A new file and not a shorter one: sendfile may be reading the old one, and
	// must not find its bytes gone or replaced half way.
	temp := s.temp(sp.place.part)
	f, err := s.disk.create(temp, os.O_EXCL)
	if err != nil {
		return s.health.failed(err)
	}
	journal, err := s.startJournal(sp.place.log, sp.size, nil)
	if err != nil {
		_ = f.Close()
		_ = s.disk.rooted.remove(temp)
		return s.health.failed(err)
	}
	_ = sp.journal.file.Close()
	sp.journal, sp.extents = journal, nil

	sp.mu.Lock()
	defer sp.mu.Unlock()
	if err := s.disk.rename(temp, sp.place.part); err != nil {
		_ = f.Close()
		_ = s.disk.rooted.remove(temp)
		return s.health.failed(err)
	}
	_ = sp.file.Close()
	sp.file = f
	sp.written.Store(0)
	return nil
}

// Commit makes the spool, which the caller has verified, an object: sync, rename,
// sync of the directory. Meta is merged as Put does it. On an error nothing is
// stored; what was recorded stays for a later Spool where that makes sense.
func (sp *Spool) Commit(size int64, meta Meta) error {
	s := sp.store
	if sp.file == nil {
		return os.ErrClosed
	}
	err := sp.finish(size)
	if err != nil {
		return errors.Join(s.health.failed(err), sp.Discard())
	}
	// Between the two no reader may open the file by a name that it no longer has.
	sp.mu.Lock()
	err = s.retry(sp.ctx, 0, func() error {
		return s.publish(sp.digest, sp.place, sp.place.part, size, meta, func() { sp.leaveLocked() })
	})
	if err == nil {
		_ = sp.file.Close()
		sp.file = nil
	}
	sp.mu.Unlock()
	if err != nil {
		return errors.Join(err, sp.Suspend())
	}
	sp.closeJournal()
	// Readers find the object already: what a power cut takes now was only shown,
	// and is fetched again.
	return s.makeDurable(sp.digest)
}

// finish makes the file's bytes durable, and the folder that it will move to.
func (sp *Spool) finish(size int64) error {
	st, err := sp.file.Stat()
	switch {
	case err != nil:
		return err
	case st.Size() < size:
		return fmt.Errorf("a blob of %d bytes has %d: %w", size, st.Size(), io.ErrUnexpectedEOF)
	case st.Size() > size:
		if err := sp.file.Truncate(size); err != nil {
			return err
		}
	}
	if err := sp.store.disk.mkdir(filepath.Dir(sp.place.blob)); err != nil {
		return err
	}
	return sp.store.disk.sync(sp.file)
}

// Suspend closes the spool and keeps it for later.
func (sp *Spool) Suspend() error {
	left := covered(sp.extents)
	if left == 0 {
		return sp.Discard()
	}
	if !sp.close() {
		return os.ErrClosed
	}
	s := sp.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.partBytes += left - sp.entry.bytes
	sp.entry.bytes = left
	sp.entry.written, sp.entry.open, sp.entry.spool = time.Now(), false, nil
	return nil
}

// Discard closes the spool and removes it.
func (sp *Spool) Discard() error {
	if !sp.close() {
		return os.ErrClosed
	}
	s := sp.store
	name := s.name(sp.digest)
	name.Lock()
	defer name.Unlock()
	s.mu.Lock()
	sp.leaveLocked()
	s.mu.Unlock()
	return s.unlinkPartial(sp.digest)
}

// leaveLocked takes the spool out of the index. s.mu is held.
func (sp *Spool) leaveLocked() {
	if s := sp.store; s.index.partials[sp.digest] == sp.entry {
		s.index.dropPartial(sp.digest)
	}
}

// close closes the files, and reports whether they were open.
func (sp *Spool) close() bool {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if sp.file == nil {
		return false
	}
	_ = sp.file.Close()
	sp.file = nil
	sp.closeJournal()
	return true
}

// closeJournal closes the journal's file.
func (sp *Spool) closeJournal() {
	_ = sp.journal.file.Close()
	sp.journal = nil
}

// unlinkPartial removes the files of a partial blob: the journal last, since a
// file without one is swept and a journal without its file is empty. The caller
// holds d's name.
func (h *holdings) unlinkPartial(d digest.Digest) error {
	place, err := h.place(d)
	if err != nil {
		return err
	}
	if err := errors.Join(h.disk.remove(place.part), h.disk.remove(place.log)); err != nil {
		return h.health.failed(fmt.Errorf("removing a partial blob: %w", err))
	}
	return nil
}
