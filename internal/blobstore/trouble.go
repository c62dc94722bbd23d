package blobstore

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// retryAfter is how long a store that could not write waits before a Put or a
// Spool tries again.
const retryAfter = 5 * time.Second

// calm is how long writes must go well before the log says that a trouble is
// over, so that a disk on the brink is logged once.
const calm = 30 * time.Second

// errNoSpace is what a disk with too little left says.
const errNoSpace = syscall.ENOSPC

// A trouble is why nothing can be kept, from the write that failed to the next
// that succeeds. It is guarded by Store.mu.
type trouble struct {
	text     string // for people
	err      error  // what writes return until again
	again    time.Time
	full     bool
	readOnly bool
}

// kind names a trouble.
func (t trouble) kind() string {
	switch {
	case t.full:
		return "full"
	case t.readOnly:
		return "read-only"
	case t.text != "":
		return "broken"
	}
	return ""
}

// ready returns why a write need not be tried, if so.
func (s *Store) ready() error {
	s.mu.Lock()
	closed, waiting, err := s.closed, time.Now().Before(s.trouble.again), s.trouble.err
	s.mu.Unlock()
	switch {
	case closed:
		return os.ErrClosed
	case waiting:
		return err
	}
	if err := s.prepare(); err != nil {
		return s.failed(err)
	}
	return nil
}

// failed turns the error of a write into one of the store's, and remembers it for
// Stats and for the writes of the next few seconds.
func (s *Store) failed(err error) error {
	var next trouble
	_, system := errors.AsType[syscall.Errno](err)
	switch {
	case errors.Is(err, ErrFull), errors.Is(err, ErrReadOnly):
		return err // noted already
	case !system, errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return err // not the disk's fault
	case isFull(err):
		err = fmt.Errorf("%w: %w", ErrFull, err)
		next = trouble{text: s.fullText(err), full: true}
	case isReadOnly(err):
		err = fmt.Errorf("%w: %w", ErrReadOnly, err)
		next = trouble{text: s.readOnlyText(err), readOnly: true}
	default:
		next = trouble{text: fmt.Sprintf("%s cannot be written (%v): pulls go on and nothing more is kept; check the disk", s.dir, cause(err))}
	}
	if next.full || next.readOnly {
		next.err, next.again = err, time.Now().Add(retryAfter)
	}
	s.note(next, err)
	return err
}

// failedBusy notes that everything that could go is pinned or being read.
func (s *Store) failedBusy(err error) error {
	s.mu.Lock()
	limit, next := s.limit, s.trouble
	s.mu.Unlock()
	next.full = true
	next.text = fmt.Sprintf("the cache is full (%v) and all of it is pinned or in use: unpin something, or raise [cache] max_size", Size(limit))
	s.note(next, err)
	return err
}

// note remembers a trouble, and logs it unless that has been done.
func (s *Store) note(t trouble, err error) {
	s.mu.Lock()
	s.trouble, s.failedAt = t, time.Now()
	first := s.logged != t.kind()
	s.logged = t.kind()
	s.mu.Unlock()
	if first {
		s.log.Warn("the cache keeps nothing new, pulls go on without it", "why", t.text, "error", err)
	}
}

// wrote notes that content could be stored.
func (s *Store) wrote() { s.clear(func(trouble) bool { return true }) }

// writable notes that something could be written, which says little of how much
// room there is.
func (s *Store) writable() { s.clear(func(t trouble) bool { return !t.full }) }

// clear ends a trouble that is over.
func (s *Store) clear(over func(trouble) bool) {
	s.mu.Lock()
	if over(s.trouble) {
		s.trouble = trouble{}
	}
	ended := s.logged != "" && s.trouble.text == "" && time.Since(s.failedAt) >= calm
	if ended {
		s.logged = ""
	}
	s.mu.Unlock()
	if ended {
		s.log.Info("the cache keeps content again", "dir", s.dir)
	}
}

// fullText tells people of a full disk.
func (s *Store) fullText(err error) string {
	if errors.Is(err, syscall.EDQUOT) {
		return fmt.Sprintf("%s is over its disk quota: pulls go on and nothing more is kept; raise the quota, or lower [cache] max_size", s.dir)
	}
	left := ""
	if free, total, ok := s.disk.space(s.dir); ok && free>>20 > 0 {
		left = fmt.Sprintf(" (%d MiB free, and %d MiB are left to others)", free>>20, keepFree(total)>>20)
	}
	return fmt.Sprintf("the disk of %s is full%s: pulls go on and nothing more is kept; free some space, or set [cache] dir to another disk", s.dir, left)
}

// readOnlyText tells people of a directory that may not be written.
func (s *Store) readOnlyText(err error) string {
	advice := "let the user that pullchain runs as write there, or set [cache] dir"
	if errors.Is(err, syscall.EROFS) {
		advice = "mount it writable, or set [cache] dir"
	}
	return fmt.Sprintf("%s cannot be written (%v): pulls go on and nothing is kept; %s", s.dir, cause(err), advice)
}

// cause returns the system's word for an error, without paths.
func cause(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}
