package blobstore

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/lapse"
)

// A scanner reads the directory of a store into its index, once.
type scanner struct{ *Store }

// scan reads the directory into the index, and sweeps what an earlier process
// left half done.
func (s scanner) scan(ctx context.Context) {
	defer close(s.scanned)
	begun := time.Now()
	s.scanPartials(ctx)
	shards := make(chan string)
	// A cold disk serves several lookups at once faster than one after the other.
	var readers sync.WaitGroup
	for range min(4, runtime.GOMAXPROCS(0)) {
		readers.Go(func() {
			buf := make([]byte, 4096)
			for shard := range shards {
				s.scanShard(ctx, shard, buf)
			}
		})
	}
	for _, folder := range s.shards() {
		if ctx.Err() == nil {
			shards <- folder
		}
	}
	close(shards)
	readers.Wait()
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	s.index.placeAll()
	s.mu.Unlock()
	s.evictOverLimit()
	sweep := sweeper(s)
	sweep.sweepOld(begun)
	top, _ := s.disk.readDir(s.dir)
	s.sweepTemps(s.dir, top)
	sweep.sweepLater()
	s.log.Debug("cache directory read", "dir", s.dir, "took", time.Since(begun))
}

// shards returns the folders that content is in: blobs/sha256/ab.
func (t *tree) shards() (folders []string) {
	for _, a := range algorithms {
		folder := filepath.Join(t.dir, blobsDir, a.name)
		found, _ := t.disk.readDir(folder)
		for _, f := range found {
			if f.IsDir() && len(f.Name()) == 2 && isHex(f.Name()) {
				folders = append(folders, filepath.Join(folder, f.Name()))
			}
		}
	}
	return folders
}

// scanShard reads blobs/sha256/ab.
func (s scanner) scanShard(ctx context.Context, folder string, buf []byte) {
	algorithm := filepath.Base(filepath.Dir(folder))
	found, _ := s.disk.readDir(folder)
	for _, f := range found {
		if ctx.Err() != nil {
			return
		}
		d := digest.Digest(algorithm + ":" + f.Name())
		if _, _, err := parse(d); err == nil && f.Name()[:2] == filepath.Base(folder) {
			s.loadFrom(d, buf)
		}
	}
	s.sweepTemps(folder, found)
	sweeper(s).sweepMetas(folder, found)
}

// load looks on the disk for d while the directory has not been read yet, and
// reports whether the index has it now.
func (h *holdings) load(d digest.Digest) bool {
	if _, _, err := parse(d); err != nil {
		return false
	}
	return h.loadFrom(d, make([]byte, 1024))
}

// loadFrom is load with a buffer for the Meta.
func (h *holdings) loadFrom(d digest.Digest, buf []byte) bool {
	name := h.name(d)
	name.Lock()
	defer name.Unlock()
	h.mu.Lock()
	known := h.index.objects[d] != nil
	_, lost := h.index.lost[d]
	done := h.index.placed || lost
	h.mu.Unlock()
	if known || done {
		return known
	}
	path := h.blobPath(d)
	st, err := h.disk.lstat(path)
	if err != nil || !st.Mode().IsRegular() {
		return false
	}
	meta, size, _ := h.disk.readSidecar(path+metaSuffix, buf)
	if size >= 0 && size != st.Size() {
		_ = h.moveToQuarantine(d, meta.Pinned, fmt.Errorf("it has %d bytes instead of %d", st.Size(), size))
		return false
	}
	if meta.Added.IsZero() {
		meta.Added = st.ModTime()
	}
	used := st.ModTime()
	if used.Before(meta.Added) {
		used = meta.Added
	}
	e := &entry{Info: Info{Meta: meta, Digest: d, Size: st.Size(), Used: used}, saved: used}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.index.add(e)
	return true
}

// leftAt makes a time of this process of when an earlier one has left a partial blob, which
// a file says: as long ago, so that a clock that is set from here on, as by NTP soon after
// the machine has started, makes it no older. In a time to come it was left just now. However
// old it seems, the client that pulls on has until the next sweep to come back: the clock may
// have been set between, or the machine been off for a weekend (docs/faults.md F60).
func leftAt(at time.Time) time.Time {
	now := time.Now()
	return now.Add(-min(lapse.Age(at, now), partialAge-sweepEvery/2))
}

// scanPartials reads partial/. A file without a journal, or the other way round,
// or with nothing in it, is of no use.
func (s scanner) scanPartials(ctx context.Context) {
	folder := filepath.Join(s.dir, partialDir)
	found, _ := s.disk.readDir(folder)
	for _, f := range found {
		if ctx.Err() != nil {
			return
		}
		flat, ok := strings.CutSuffix(f.Name(), partSuffix)
		if !ok {
			flat, ok = strings.CutSuffix(f.Name(), logSuffix)
		}
		if d, named := unflatten(flat); ok && named {
			s.loadPartial(d)
		}
	}
	s.sweepTemps(folder, found)
}

// loadPartial takes in a partial blob.
func (s scanner) loadPartial(d digest.Digest) {
	name := s.name(d)
	name.Lock()
	defer name.Unlock()
	s.mu.Lock()
	known := s.index.partials[d] != nil
	s.mu.Unlock()
	place, err := s.place(d)
	if known || err != nil {
		return
	}
	var left, size int64
	st, err := s.disk.lstat(place.part)
	if err == nil && st.Mode().IsRegular() {
		var extents []Extent
		size, extents = s.disk.readJournal(place.log)
		left = covered(clip(extents, st.Size()))
	}
	if left == 0 {
		_ = s.unlinkPartial(d)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.partials[d] = &partial{bytes: left, size: size, written: leftAt(st.ModTime())}
	s.index.partBytes += left
}
