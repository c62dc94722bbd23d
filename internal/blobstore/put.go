package blobstore

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
)

// Put stores content that the caller has verified. What was known of d before is
// merged: public stays public, pinned stays pinned, the later proof of each
// repository counts. Errors are ErrFull, ErrReadOnly or the system's.
//
// ctx bounds one wait only: on a full disk nothing can be evicted before the
// directory has been read. When it ends first, that is ErrFull, and its cause.
func (s *Store) Put(ctx context.Context, d digest.Digest, content []byte, meta Meta) error {
	place, err := s.place(d)
	if err != nil {
		return err
	}
	if err := s.ready(); err != nil {
		return err
	}
	size := int64(len(content))
	if s.intact(d, size) {
		if err := s.putAgain(d, meta); !errors.Is(err, ErrNotFound) {
			return err
		} // else it was evicted just now
	}
	if err := s.fits(size); err != nil {
		return err
	}
	if err := s.claim(ctx, size, func(n int64) { s.index.incoming += n }); err != nil {
		return err
	}
	// Until publish has it in the index, what comes in counts as incoming: else two
	// writers at once would be promised the same room.
	come := func() { s.index.incoming -= size }

	temp := s.temp(place.blob)
	err = s.retry(ctx, size, func() error { return s.writeTemp(temp, content, true) })
	if err == nil {
		err = s.retry(ctx, 0, func() error { return s.publish(d, place, temp, size, meta, come) })
	}
	if err != nil {
		_ = s.disk.rooted.remove(temp)
		s.mu.Lock()
		come()
		s.mu.Unlock()
		return err
	}
	return s.makeDurable(d)
}

// intact reports whether d is here, hashed, and as long as it was.
func (h *holdings) intact(d digest.Digest, size int64) bool {
	info, ok := h.stat(d)
	if !ok || !info.Verified || info.Size != size {
		return false
	}
	st, err := h.disk.lstat(h.blobPath(d))
	return err == nil && st.Mode().IsRegular() && st.Size() == size
}

// putAgain takes in what is new about content that is there.
func (s *Store) putAgain(d digest.Digest, meta Meta) error {
	s.Touch(d)
	return s.Update(d, func(m *Meta) { *m = m.merged(meta) })
}

// publish gives a file that is synced its name, after its Meta, and calls come,
// with s.mu held, when the index has it. It may be called again when it failed.
func (s *Store) publish(d digest.Digest, at place, from string, size int64, meta Meta, come func()) error {
	s.known(d) // so that what the disk says of d is merged, even before the scan is over
	name := s.name(d)
	name.Lock()
	defer name.Unlock()

	s.mu.Lock()
	old := s.index.objects[d]
	if meta.Added.IsZero() {
		meta.Added = time.Now()
	}
	meta.Repos = maps.Clone(meta.Repos) // the caller's map stays the caller's
	if old != nil {
		added := meta.Added
		meta = old.Meta.merged(meta)
		meta.Added = added
	}
	if _, ok := s.index.unpinned[d]; ok {
		meta.Pinned = true
	}
	s.mu.Unlock()

	// The sidecar comes first: whatever has a name under blobs/ then has its size and
	// type beside it. One without its blob, which a kill may leave, the scan sweeps.
	err := s.replace(at.meta, encodeSidecar(meta, size), false)
	if err == nil {
		err = s.disk.rename(from, at.blob)
	}
	if err != nil {
		if old == nil {
			_ = s.disk.rooted.remove(at.meta)
		}
		return err
	}
	if from == at.part {
		_ = s.disk.remove(at.log) // what is left of it, the next start sweeps
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	come()
	s.index.takeIn(d, size, meta)
	return nil
}

// makeDurable syncs the name that publish gave, and the Meta beside it: a manifest
// without its type, or a blob that no repository may read, would be lost as well. The
// Store's locks are free meanwhile.
func (s *Store) makeDurable(d digest.Digest) error {
	if err := s.syncMeta(d); err != nil && !errors.Is(err, ErrNotFound) {
		_ = s.Remove(d)
		return err
	}
	s.health.wrote()
	return nil
}

// Update changes what is kept about d: change may alter everything but Added, and
// must not call the store. It is written without a sync, but for a changed pin: a
// Meta lost to a power cut makes the content private to no repository, which only costs
// asking again. A change that cannot be written is an error and holds all the
// same, as long as this process runs. Returns ErrNotFound.
func (s *Store) Update(d digest.Digest, change func(*Meta)) error {
	if !s.known(d) {
		return ErrNotFound
	}
	pinned, err := s.update(d, change)
	if err != nil || !pinned {
		return err
	}
	return s.syncMeta(d)
}

// update is Update without the sync. It reports whether the pin has changed.
func (s *Store) update(d digest.Digest, change func(*Meta)) (pinned bool, err error) {
	name := s.name(d)
	name.Lock()
	defer name.Unlock()

	s.mu.Lock()
	e := s.index.objects[d]
	if e == nil {
		s.mu.Unlock()
		return false, ErrNotFound
	}
	before, size := e.Meta, e.Size
	s.mu.Unlock()

	after := before
	after.Repos = maps.Clone(before.Repos)
	change(&after)
	after.Added = before.Added
	if after.equal(before) {
		return false, nil
	}
	// The index has it before the disk: a pin that cannot be written must still
	// hold, and an access that was taken away must not be granted meanwhile.
	s.mu.Lock()
	s.index.pin(e, after.Pinned)
	e.Meta = after
	s.mu.Unlock()
	return after.Pinned != before.Pinned, s.writeMeta(d, after, size)
}

// writeMeta writes what is known of d. The caller holds d's name.
func (s *Store) writeMeta(d digest.Digest, meta Meta, size int64) error {
	if err := s.ready(); err != nil {
		return err
	}
	// No evicting here: that would take another digest's name as well.
	if err := s.replace(s.blobPath(d)+metaSuffix, encodeSidecar(meta, size), false); err != nil {
		return s.health.failed(err)
	}
	s.health.writable()
	return nil
}

// syncMeta makes what is known of d durable.
func (h *holdings) syncMeta(d digest.Digest) error {
	path := h.blobPath(d) + metaSuffix
	f, err := h.disk.openFile(path, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound // evicted meanwhile
	}
	if err != nil {
		return h.health.failed(err)
	}
	defer f.Close()
	if err := errors.Join(h.disk.sync(f), h.disk.syncDir(filepath.Dir(path))); err != nil {
		return h.health.failed(err)
	}
	return nil
}

// Remove evicts d, pinned or not. What is being read stays readable. Returns
// ErrNotFound.
func (s *Store) Remove(d digest.Digest) error {
	if !s.known(d) {
		return ErrNotFound
	}
	name := s.name(d)
	name.Lock()
	defer name.Unlock()
	s.mu.Lock()
	e := s.index.objects[d]
	if e == nil {
		s.mu.Unlock()
		return ErrNotFound
	}
	s.index.drop(e)
	s.mu.Unlock()
	return s.unlink(d)
}

// unlink removes the files of whole content, what is known of it first: should
// this be cut short, the content is private to no repository. The caller holds d's name.
func (h *holdings) unlink(d digest.Digest) error {
	path := h.blobPath(d)
	err := h.disk.remove(path + metaSuffix)
	if err == nil {
		err = h.disk.remove(path)
	}
	return h.gone(d, err)
}
