package blobstore

import (
	"os"
	"time"
)

// The last use of an object outlives the process as its file's mtime. It is
// written late and seldom: what it decides is only the order in which things go.
const (
	saveEvery = 5 * time.Minute  // of one object
	saveDelay = 30 * time.Second // gathers many objects
	samePull  = time.Minute      // a use this soon after Added is the pull that brought it
)

// useLocked counts a use of e and sees to it that it will be written.
func (s *Store) useLocked(e *entry) {
	now := time.Now()
	e.use(now)
	if e.dirty || s.closed {
		return
	}
	again := e.Added.Add(samePull)
	if now.Sub(e.saved) < saveEvery && (e.saved.After(again) || !now.After(again)) {
		return
	}
	e.dirty = true
	s.unsaved = append(s.unsaved, e)
	if s.saver == nil {
		s.saver = s.laterLocked(saveDelay, func() {
			s.mu.Lock()
			s.saver = nil
			s.mu.Unlock()
			s.saveUses()
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
func (s *Store) saveUses() {
	s.mu.Lock()
	due := s.unsaved
	s.unsaved = nil
	s.mu.Unlock()
	for _, e := range due {
		s.saveUse(e)
	}
}

// saveAllUses writes every mtime that is not up to date, when the store closes.
func (s *Store) saveAllUses() {
	for _, e := range s.entries() {
		s.saveUse(e)
	}
}

// saveUse writes e's mtime. A failure costs nothing but the place in a queue.
func (s *Store) saveUse(e *entry) {
	s.mu.Lock()
	used, behind := e.Used, e.Used.After(e.saved) && !e.gone
	e.saved, e.dirty = e.Used, false
	s.mu.Unlock()
	if behind {
		_ = os.Chtimes(s.blobPath(e.Digest), time.Time{}, used)
	}
}
