package fill

import (
	"context"
	"fmt"
	"os"

	"github.com/pullchain/pullchain"
)

// A reader is one client's body of a blob that is being fetched. It reads the
// fill's file at its own speed and waits only for what is not there, or not yet
// verified. It belongs to one goroutine, but for Close and Attempts.
type reader struct {
	f     *fill
	ctx   context.Context
	reg   *Registry
	req   pullchain.Request
	by    Repository
	first bool // the fill was begun for it

	from, pos, stop int64     // the bytes asked for, and the next one; stop is -1 while the size is not known
	size            int64     // of the blob, as the client was told; -1 if it was not
	copy            *blobCopy // whose bytes file has; nil before the first

	// Guarded by f.mu.
	file     sourceFile
	alone    *detachedBody // goes on without the fill; else nil
	closed   bool
	whole    bool  // it reads all of the blob
	at, to   int64 // what it still wants
	waiting  bool
	trusting bool // it was let in because the blob seemed public
}

// Close lets go of the fill. What is not wanted any more is not fetched, unless
// so little is missing that it is worth having (docs/faults.md F31). It may be called
// while another goroutine reads, whose next bytes are an error then.
func (r *reader) Close() error {
	f := r.f
	f.mu.Lock()
	if r.closed {
		f.mu.Unlock()
		return nil
	}
	r.closed = true
	delete(f.readers, r)
	f.plan.trim()
	f.changes.notify()
	alone, file := r.alone, r.file
	evicted := f.abandonment.begin()
	f.mu.Unlock()
	suspend(evicted)
	if alone != nil {
		alone.Close()
	}
	if file.close != nil {
		return file.close()
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
	f := r.f
	f.mu.Lock()
	if alone := r.alone; alone != nil {
		f.mu.Unlock()
		return alone.next()
	}
	r.at = r.pos
	for {
		n, err := r.lookLocked()
		switch {
		case n > 0:
			section := pullchain.Section{Content: r.file.File, Offset: r.pos, Size: n}
			f.mu.Unlock()
			return section, nil
		case err == errChanged || err == errDetached:
			f.mu.Unlock()
			return r.carryOn(err)
		case err != nil:
			f.mu.Unlock()
			return pullchain.Section{}, err
		}
		r.waiting = true
		if missing := f.copy.have.reach(r.pos); missing < r.to && r.copy == f.copy {
			f.plan.demand(missing, r.to)
		}
		f.changes.wait(&f.mu, r.ctx.Done())
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

// change opens the file of the fill's copy at hand. What was sent from another
// has to be the same in this one.
func (r *reader) change() error {
	f := r.f
	f.mu.Lock()
	for f.phase == replacing && r.ctx.Err() == nil {
		f.changes.wait(&f.mu, r.ctx.Done())
	}
	copy, size := f.copy, f.copy.size
	f.mu.Unlock()
	file, err := copy.back.reader(f.fills.store, f.digest)
	if err != nil {
		return r.noFile(err)
	}
	f.mu.Lock()
	stale := f.copy != copy || f.phase == replacing && r.ctx.Err() == nil
	f.mu.Unlock()
	if stale {
		_ = file.close() // it was only read
		return r.change()
	}
	if err := r.take(file, copy, size); err != nil {
		_ = file.close() // it was only read
		return err
	}
	return nil
}

// noFile says what it means that the fill's file cannot be opened: as a rule that
// it has just ended.
func (r *reader) noFile(err error) error {
	r.f.mu.Lock()
	closing := r.f.closing
	r.f.mu.Unlock()
	switch {
	case r.pos > r.from:
		return AsError(err)
	case r.copy == nil && closing:
		return errRetryFill
	}
	return errDetached
}

// take goes on reading from file, unless it is not what has been sent so far.
func (r *reader) take(file sourceFile, copy *blobCopy, size int64) error {
	if r.size >= 0 && size >= 0 && size != r.size {
		return mismatched("%d bytes instead of %d", size, r.size)
	}
	if r.pos > r.from {
		at, err := differ(r.file, file, r.from, r.pos)
		if err != nil {
			return AsError(err)
		}
		if at >= 0 {
			return mismatched("what was sent at %d was wrong", at)
		}
	}
	r.f.mu.Lock()
	if r.closed {
		r.f.mu.Unlock()
		return canceledBy(os.ErrClosed)
	}
	old := r.file
	r.file, r.copy = file, copy
	r.f.mu.Unlock()
	if old.close != nil {
		_ = old.close() // it was only read
	}
	return nil
}

// Sent moves on by n bytes.
func (r *reader) Sent(n int64) {
	if alone := r.detached(); alone != nil {
		alone.sent(n)
		return
	}
	r.pos += n
}

// detached returns what the reader goes on with without its fill, or nil.
func (r *reader) detached() *detachedBody {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return r.alone
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
		return 0, AsError(fmt.Errorf("reading the spool: %w", err))
	}
	return got, nil
}

// Attempts returns every attempt of the fill so far, and those made for this
// reader alone.
func (r *reader) Attempts() []pullchain.Attempt {
	all := r.f.log.all()
	if alone := r.detached(); alone != nil {
		all = append(all, alone.attempts()...)
	}
	return all
}
