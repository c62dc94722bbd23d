package blobstore

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
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
// that succeeds.
type trouble struct {
	text     string // for people
	err      error  // what writes return until again
	again    time.Time
	full     bool
	noInodes bool // and no byte is missing
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

// A health is what the store knows of its disk from the writes that failed and
// those that did not. It is safe for concurrent use, also under Store.mu.
type health struct {
	tree *tree
	log  *slog.Logger

	mu       sync.Mutex // guards what is below
	trouble  trouble
	logged   string    // the kind of trouble that the log has; empty when it is over
	failedAt time.Time // last
	misfits  map[string]time.Time
}

// now returns the trouble of this moment.
func (h *health) now() trouble {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.trouble
}

// failed turns the error of a write into one of the store's, and remembers it for
// Stats and for the writes of the next few seconds.
func (h *health) failed(err error) error {
	var next trouble
	_, system := errors.AsType[syscall.Errno](err)
	switch {
	case errors.Is(err, ErrFull), errors.Is(err, ErrReadOnly):
		return err // noted already
	case !system, errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return err // not the disk's fault
	case isFull(err):
		err = fmt.Errorf("%w: %w", ErrFull, err)
		text, noInodes := h.fullText(err)
		next = trouble{text: text, full: true, noInodes: noInodes}
	case h.onlyOne(err):
		return fmt.Errorf("this one cannot be kept, others can: %w; look at what is there, and remove it", err)
	case isReadOnly(err):
		err = fmt.Errorf("%w: %w", ErrReadOnly, err)
		next = trouble{text: h.readOnlyText(err), readOnly: true}
	default:
		next = trouble{text: fmt.Sprintf("%s cannot be written (%v): pulls go on and nothing more is kept; check the disk", h.tree.dir, cause(err))}
	}
	if next.full || next.readOnly {
		next.err, next.again = err, time.Now().Add(retryAfter)
	}
	h.note(next, err)
	return err
}

// failedBusy notes that everything that could go is pinned or being read.
func (h *health) failedBusy(limit int64, err error) error {
	next := h.now()
	next.full = true
	next.text = fmt.Sprintf("the cache is full (%v) and all of it is pinned or in use: unpin something, or raise [cache] max_size", Size(limit))
	h.note(next, err)
	return err
}

// note remembers a trouble, and logs it unless that has been done.
func (h *health) note(t trouble, err error) {
	h.mu.Lock()
	h.trouble, h.failedAt = t, time.Now()
	first := h.logged != t.kind()
	h.logged = t.kind()
	h.mu.Unlock()
	if first {
		h.log.Warn("the cache keeps nothing new, pulls go on without it", "why", t.text, "error", err)
	}
}

// wrote notes that content could be stored.
func (h *health) wrote() { h.clear(func(trouble) bool { return true }) }

// writable notes that something could be written, which says little of how much
// room there is: a record of 100 bytes fits where a layer does not, and clearing the
// trouble for it would make every layer try the full disk anew.
func (h *health) writable() { h.clear(func(t trouble) bool { return !t.full }) }

// clear ends a trouble that is over.
func (h *health) clear(over func(trouble) bool) {
	h.mu.Lock()
	if over(h.trouble) {
		h.trouble = trouble{}
	}
	ended := h.logged != "" && h.trouble.text == "" && time.Since(h.failedAt) >= calm
	if ended {
		h.logged = ""
	}
	h.mu.Unlock()
	if ended {
		h.log.Info("the cache keeps content again", "dir", h.tree.dir)
	}
}

// fullText tells people of a full disk, and reports whether it has room for bytes and none
// for files.
func (h *health) fullText(err error) (text string, noInodes bool) {
	if errors.Is(err, syscall.EDQUOT) {
		return fmt.Sprintf("%s is over its disk quota: pulls go on and nothing more is kept; raise the quota, or lower [cache] max_size", h.tree.dir), false
	}
	if files := h.tree.disk.files; files != nil {
		if free, total, ok := files(h.tree.dir); ok && free == 0 {
			return fmt.Sprintf("the disk of %s has no inodes left (all of its %d files are there, whatever room is free): pulls go on and nothing more is kept; remove files there, or set [cache] dir to another disk", h.tree.dir, total), true
		}
	}
	left := ""
	if free, total, ok := h.tree.disk.space(h.tree.dir); ok && free>>20 > 0 {
		left = fmt.Sprintf(" (%d MiB free, and %d MiB are left to others)", free>>20, keepFree(total)>>20)
	}
	return fmt.Sprintf("the disk of %s is full%s: pulls go on and nothing more is kept; free some space, or set [cache] dir to another disk", h.tree.dir, left), false
}

// readOnlyText tells people of a directory that may not be written.
func (h *health) readOnlyText(err error) string {
	advice := "let the user that pullchain runs as write there, or set [cache] dir"
	if errors.Is(err, syscall.EROFS) {
		advice = "mount it writable, or set [cache] dir"
	}
	return fmt.Sprintf("%s cannot be written (%v): pulls go on and nothing is kept; %s", h.tree.dir, cause(err), advice)
}

// cause returns the system's word for an error, without paths.
func cause(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}
