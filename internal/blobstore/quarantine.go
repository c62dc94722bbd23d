package blobstore

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// keepQuarantined is how many quarantined files are kept, as long as together
// they are no more than a quarter of the limit. They are not counted towards it,
// and go first when the disk is short of room.
const keepQuarantined = 8

// Quarantine takes d out of the store because its bytes are wrong, and keeps the
// file under corrupt/ for people to look at (the last few only). Returns
// ErrNotFound.
func (s *Store) Quarantine(d digest.Digest, why error) error {
	if !s.known(d) {
		return ErrNotFound
	}
	s.mu.Lock()
	e := s.index.objects[d]
	s.mu.Unlock()
	if e == nil {
		return ErrNotFound
	}
	return s.quarantine(e, why)
}

// quarantine takes out e, unless that has happened already: what has been stored
// since is not to blame.
func (h *holdings) quarantine(e *entry, why error) error {
	name := h.name(e.Digest)
	name.Lock()
	defer name.Unlock()
	h.mu.Lock()
	if e.gone {
		h.mu.Unlock()
		return ErrNotFound
	}
	h.index.drop(e)
	pinned := e.Pinned
	h.mu.Unlock()
	return h.moveToQuarantine(e.Digest, pinned, why)
}

// moveToQuarantine moves the files of d, which the index does not have, to corrupt/. A
// pin is for the content and not for these bytes: it is remembered until the right
// ones come. The caller holds d's name.
func (h *holdings) moveToQuarantine(d digest.Digest, pinned bool, why error) error {
	h.mu.Lock()
	h.corrupt++
	if pinned {
		h.index.unpinned[d] = struct{}{}
	}
	limit := h.index.limit
	h.mu.Unlock()
	h.health.log.Warn("cached content is wrong and was quarantined", "digest", d, "error", why)
	place, err := h.place(d)
	if err != nil {
		return err
	}
	// As in unlink, the sidecar goes first: wrong bytes that stay where they are may
	// then be read by no repository, at least.
	if err := h.disk.remove(place.meta); err != nil {
		return h.gone(d, err)
	}
	if err := h.disk.rename(place.blob, place.corrupt); err != nil {
		return h.gone(d, h.disk.remove(place.blob))
	}
	now := time.Now()
	_ = h.disk.chtimes(place.corrupt, now, now)
	h.dropQuarantined(keepQuarantined, limit/4)
	return nil
}

// gone notes whether d's files could be removed: if not, they stay where they are
// and are not found by this process.
func (h *holdings) gone(d digest.Digest, err error) error {
	if err == nil {
		return nil
	}
	h.mu.Lock()
	h.index.lost[d] = struct{}{}
	h.mu.Unlock()
	return h.health.failed(fmt.Errorf("removing content: %w", err))
}

// dropQuarantined removes quarantined files, the oldest first, until no more
// than count of them, and no more than size bytes, are left.
func (t *tree) dropQuarantined(count int, size int64) (freed int64) {
	folder := filepath.Join(t.dir, corruptDir)
	found, _ := t.disk.readDir(folder)
	var files []fs.FileInfo
	for _, f := range found {
		_, ours := unflatten(f.Name())
		if info, err := f.Info(); err == nil && ours && info.Mode().IsRegular() {
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	var sum int64
	for i, f := range files {
		sum += f.Size()
		if (i >= count || sum > size) && t.disk.remove(filepath.Join(folder, f.Name())) == nil {
			freed += f.Size()
			sum -= f.Size()
		}
	}
	return freed
}
