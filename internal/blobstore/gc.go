package blobstore

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// How long what is not asked for is kept.
const (
	partialAge = 24 * time.Hour
	recordAge  = 30 * 24 * time.Hour
)

// sweepEvery is how often a store that is open looks for what is too old.
const sweepEvery = time.Hour

// GC removes what is of no use: partial blobs not written for partialAge, old
// records, files that are none of ours under our names, quarantined files, and
// content beyond the limit. It returns how many bytes it freed.
func (s *Store) GC(ctx context.Context) (freed int64, err error) {
	select {
	case <-s.scanned:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if err := s.ready(); err != nil {
		return 0, err
	}
	sweep := sweeper{s}
	freed = sweep.sweepOld(time.Now())
	freed += sweep.sweepStray(ctx)
	freed += s.dropQuarantined(0, 0)
	freed += s.evictOverLimit()
	return freed, ctx.Err()
}

// A sweeper removes what is too old, or of no use, from a store.
type sweeper struct{ *Store }

// sweepLater sweeps every hour until the store is closed.
func (s sweeper) sweepLater() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.sweeper = s.laterLocked(sweepEvery, func() {
		s.sweepOld(time.Now())
		s.sweepLater()
	})
}

// sweepOld removes partial blobs and records that are too old.
func (s sweeper) sweepOld(now time.Time) (freed int64) {
	s.mu.Lock()
	var old []victim
	for d, p := range s.index.partials {
		if !p.open && now.Sub(p.written) > partialAge {
			old = append(old, victim{digest: d, size: p.bytes, partial: true})
		}
	}
	for _, v := range old {
		s.index.dropPartial(v.digest)
	}
	s.mu.Unlock()
	return s.unlinkAll(old) + s.sweepRecords(now)
}

// sweepRecords removes records that are too old.
func (s sweeper) sweepRecords(now time.Time) (freed int64) {
	root := filepath.Join(s.dir, recordsDir)
	kinds, _ := s.disk.readDir(root)
	for _, kind := range kinds {
		folder := filepath.Join(root, kind.Name())
		files, _ := s.disk.readDir(folder)
		for _, f := range files {
			info, err := f.Info()
			if err != nil {
				continue
			}
			old := isRecord(f) && now.Sub(info.ModTime()) > recordAge
			if (old || s.abandoned(f.Name())) && s.disk.remove(filepath.Join(folder, f.Name())) == nil {
				freed += info.Size()
			}
		}
	}
	return freed
}

// sweepStray removes files that an earlier process left half done, and takes out
// objects whose files were removed behind our back.
func (s sweeper) sweepStray(ctx context.Context) (freed int64) {
	for _, folder := range append(s.shards(), s.dir, filepath.Join(s.dir, partialDir)) {
		if ctx.Err() != nil {
			return freed
		}
		found, _ := s.disk.readDir(folder)
		freed += s.sweepTemps(folder, found)
		s.sweepMetas(folder, found)
	}
	for _, e := range s.entries() {
		if _, err := s.disk.lstat(s.blobPath(e.Digest)); errors.Is(err, fs.ErrNotExist) {
			s.forget(e)
		}
	}
	return freed
}

// sweepTemps removes the temporary files of earlier processes among those found
// in a folder.
func (t *tree) sweepTemps(folder string, found []fs.DirEntry) (freed int64) {
	for _, f := range found {
		if !t.abandoned(f.Name()) || !f.Type().IsRegular() {
			continue
		}
		info, err := f.Info()
		if err == nil && t.disk.remove(filepath.Join(folder, f.Name())) == nil {
			freed += info.Size()
		}
	}
	return freed
}

// sweepMetas removes every Meta among those found, sorted, in blobs/sha256/ab
// whose blob is not there: a kill came between the two.
func (s sweeper) sweepMetas(folder string, found []fs.DirEntry) {
	for i, f := range found {
		hex, ok := strings.CutSuffix(f.Name(), metaSuffix)
		if !ok || i > 0 && found[i-1].Name() == hex {
			continue
		}
		d := digest.Digest(filepath.Base(filepath.Dir(folder)) + ":" + hex)
		if _, _, err := parse(d); err == nil {
			s.sweepMeta(d)
		}
	}
}

// sweepMeta removes d's Meta if there still is no blob.
func (s sweeper) sweepMeta(d digest.Digest) {
	name := s.name(d)
	name.Lock()
	defer name.Unlock()
	path := s.blobPath(d)
	if _, err := s.disk.lstat(path); errors.Is(err, fs.ErrNotExist) {
		_ = s.disk.remove(path + metaSuffix)
	}
}
