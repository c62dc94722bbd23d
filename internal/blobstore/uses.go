package blobstore

import (
	"time"
)

// The last use of an object outlives the process as its file's mtime. It is
// written late and seldom: what it decides is only the order in which things go.
const (
	saveEvery = 5 * time.Minute  // of one object
	saveDelay = 30 * time.Second // gathers many objects
	samePull  = time.Minute      // a use this soon after Added is the pull that brought it
)

// A usage writes the last uses of a store's objects to their files.
type usage struct{ *Store }

// noteLocked counts a use of e and sees to it that it will be written.
func (u usage) noteLocked(e *entry) {
	now := time.Now()
	e.use(now)
	if e.dirty || u.closed {
		return
	}
	// Written at most every few minutes, but never so late that a first use after
	// the pull itself is not seen by the next process: that use decides the queue.
	again := e.Added.Add(samePull)
	if now.Sub(e.saved) < saveEvery && (e.saved.After(again) || !now.After(again)) {
		return
	}
	e.dirty = true
	u.unsaved = append(u.unsaved, e)
	if u.saver == nil {
		u.saver = u.laterLocked(saveDelay, func() {
			u.mu.Lock()
			u.saver = nil
			u.mu.Unlock()
			u.saveUses()
		})
	}
}

// laterLocked runs f in a while, unless the store is closed before. Close waits
// for an f that runs.
func (s *Store) laterLocked(wait time.Duration, f func()) *time.Timer {
	s.work.Add(1)
	return time.AfterFunc(wait, func() {
		defer s.work.Done()
		f()
	})
}

// saveUses writes the mtimes that are due.
func (u usage) saveUses() {
	u.mu.Lock()
	due := u.unsaved
	u.unsaved = nil
	u.mu.Unlock()
	for _, e := range due {
		u.saveUse(e)
	}
}

// saveAllUses writes every mtime that is not up to date, when the store closes.
func (u usage) saveAllUses() {
	for _, e := range u.entries() {
		u.saveUse(e)
	}
}

// saveUse writes e's mtime. A failure costs nothing but the place in a queue.
func (u usage) saveUse(e *entry) {
	u.mu.Lock()
	used, behind := e.Used, e.Used.After(e.saved) && !e.gone
	e.saved, e.dirty = e.Used, false
	u.mu.Unlock()
	if behind {
		_ = u.disk.chtimes(u.blobPath(e.Digest), time.Time{}, used)
	}
}
