package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/pullchain/pullchain"
)

// A reader is one client's body of a blob that is being fetched. It reads the
// fill's file at its own speed and waits only for what is not there, or not yet
// proved right. It belongs to one goroutine, but for Close and Attempts.
type reader struct {
	f     *fill
	ctx   context.Context
	reg   *registry
	req   pullchain.Request
	by    repoKey
	first bool // the fill was begun for it

	from, pos, stop int64 // the bytes asked for, and the next one; stop is -1 while the size is not known
	size            int64 // of the blob, as the client was told; -1 if it was not
	copy            int   // which of the fill's copies file is
	file            sourceFile
	alone           *detachedBody // goes on without the fill
	closed          atomic.Bool

	// Guarded by f.mu.
	whole    bool  // it reads all of the blob
	at, to   int64 // what it still wants
	waiting  bool
	trusting bool // it was let in because the blob seemed public
}

// Close lets go of the fill. What is not wanted any more is not fetched, unless
// so little is missing that it is worth having (FAULTS.md F31).
func (r *reader) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	f := r.f
	f.mu.Lock()
	delete(f.readers, r)
	f.trimLocked()
	f.wakeLocked()
	f.mu.Unlock()
	if r.alone != nil {
		r.alone.Close()
	}
	if r.file.close != nil {
		return r.file.close()
	}
	return nil
}

// Sections returns the reader itself: its bytes lie in the fill's file.
func (r *reader) Sections() pullchain.Sections { return r }

// Source returns none: the bytes are the cache's by now.
func (r *reader) Source() pullchain.Source { return pullchain.Source{} }

// Next waits until bytes may be sent, and returns where they are. At the right
// end it returns io.EOF; any other error means that the answer cannot be
// completed.
func (r *reader) Next() (pullchain.Section, error) {
	if r.alone != nil {
		return r.alone.next()
	}
	f := r.f
	f.mu.Lock()
	r.at = r.pos
	for {
		n, err := r.lookLocked()
		switch {
		case n > 0:
			f.mu.Unlock()
			return pullchain.Section{Content: r.file.File, Offset: r.pos, Size: n}, nil
		case err == errChanged || err == errDetached:
			f.mu.Unlock()
			return r.carryOn(err)
		case err != nil:
			f.mu.Unlock()
			return pullchain.Section{}, err
		}
		r.waiting = true
		if missing := f.have.reach(r.pos); missing < r.to && r.copy == f.copy {
			f.demandLocked(missing, r.to)
		}
		f.waitLocked(r.ctx.Done())
		r.waiting = false
	}
}

// carryOn goes on after the ground has shifted, and returns what is ready.
func (r *reader) carryOn(why error) (pullchain.Section, error) {
	err := why
	if why == errChanged {
		err = r.change()
	}
	if err == errDetached {
		err = r.leave()
	}
	if err != nil {
		return pullchain.Section{}, err
	}
	return r.Next()
}

// errChanged says that the fill goes on in another file.
var errChanged = errors.New("another copy of the blob is used")

var errNotPublic = errors.New("the blob turned out to take a login")

// lookLocked returns how many bytes may be sent now, or why none ever will be,
// or neither.
func (r *reader) lookLocked() (int64, error) {
	f := r.f
	switch {
	case r.closed.Load():
		return 0, canceledError(os.ErrClosed)
	case r.ctx.Err() != nil && !r.endedLocked(): // a client that has everything may leave at once
		return 0, canceled(r.ctx)
	case r.trusting && f.private:
		return 0, &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeUnauthorized, Err: errNotPublic}
	case r.copy != f.copy && (r.pos == r.from || f.state == proved):
		return 0, errChanged
	case f.answered && !f.fresh && r.size >= 0 && f.size >= 0 && r.size != f.size:
		return 0, mismatch("%d bytes instead of %d", f.size, r.size)
	case r.copy != f.copy && f.state == failed:
		return 0, f.err
	case r.copy != f.copy && f.state == detached:
		return 0, errDetached
	case r.copy != f.copy:
		return 0, nil // until it is known which bytes are right
	}
	if r.stop < 0 && f.state == proved {
		r.stop = f.size
	}
	if n := min(f.have.reach(r.pos), r.limitLocked()) - r.pos; n > 0 {
		return n, nil
	}
	switch {
	case r.endedLocked():
		return 0, io.EOF
	case f.state == detached:
		return 0, errDetached
	case f.state == failed:
		return 0, f.err
	}
	return 0, nil
}

// endedLocked reports whether the client has been sent everything, and rightly.
func (r *reader) endedLocked() bool {
	return r.pos == r.stop && r.copy == r.f.copy && (!r.whole || r.f.state == proved)
}

// limitLocked returns where the bytes end that may be sent: short of the blob's
// end, as long as that could make a complete wrong blob.
func (r *reader) limitLocked() int64 {
	f := r.f
	end := r.stop
	switch {
	case f.state == proved:
	case r.stop < 0:
		end = f.have.reach(0) - holdBack
	case r.whole && f.size <= holdAll:
		end = 0
	case r.whole || f.have.total == f.size: // a part waits for nothing but the hash
		end = min(end, f.size-holdBack)
	}
	return end
}

// change opens the file of the fill's copy at hand. What was sent from another
// has to be the same in this one.
func (r *reader) change() error {
	f := r.f
	f.mu.Lock()
	for f.swap && r.ctx.Err() == nil {
		f.waitLocked(r.ctx.Done())
	}
	back, copy, size := f.back, f.copy, f.size
	f.mu.Unlock()
	file, err := back.reader(f.s.store, f.digest)
	if err != nil {
		return r.noFile(err)
	}
	f.mu.Lock()
	stale := f.copy != copy || f.swap
	f.mu.Unlock()
	if stale {
		_ = file.close() // it was only read
		return r.change()
	}
	if err := r.take(file, copy, size); err != nil {
		_ = file.close()
		return err
	}
	return nil
}

// noFile says what it means that the fill's file cannot be opened: as a rule that
// it has just ended.
func (r *reader) noFile(err error) error {
	r.f.mu.Lock()
	ending := r.f.ending
	r.f.mu.Unlock()
	switch {
	case r.pos > r.from:
		return asError(err)
	case r.file.File == nil && ending:
		return errAnew
	}
	return errDetached
}

// take goes on reading from file, unless it is not what has been sent so far.
func (r *reader) take(file sourceFile, copy int, size int64) error {
	if r.size >= 0 && size >= 0 && size != r.size {
		return mismatch("%d bytes instead of %d", size, r.size)
	}
	if r.pos > r.from {
		at, err := differ(r.file, file, r.from, r.pos)
		if err != nil {
			return asError(err)
		}
		if at >= 0 {
			return mismatch("what was sent at %d was wrong", at)
		}
	}
	old := r.file
	r.file, r.copy = file, copy
	if old.close != nil {
		_ = old.close() // it was only read
	}
	return nil
}

// Sent moves on by n bytes.
func (r *reader) Sent(n int64) {
	if r.alone != nil {
		r.alone.sent(n)
		return
	}
	r.pos += n
}

// Read reads what is ready.
func (r *reader) Read(p []byte) (int, error) {
	ready, err := r.Next()
	if err != nil {
		return 0, err
	}
	got, err := ready.Content.ReadAt(p[:min(ready.Size, int64(len(p)))], ready.Offset)
	r.Sent(int64(got))
	if err != nil && got == 0 && len(p) > 0 {
		return 0, asError(fmt.Errorf("reading the spool: %w", err))
	}
	return got, nil
}

// Attempts returns every attempt of the fill so far, and those made for this
// reader alone.
func (r *reader) Attempts() []pullchain.Attempt {
	all := r.f.attempts()
	if r.alone != nil {
		all = append(all, r.alone.Attempts()...)
	}
	return all
}
