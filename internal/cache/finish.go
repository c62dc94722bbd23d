package cache

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/pullchain/pullchain/internal/blobstore"
)

// abandonedLocked reports whether nobody wants what is missing.
func (f *fill) abandonedLocked() bool {
	return len(f.readers) == 0 && !f.goesOnLocked() && f.state < proved
}

// settleTime is how long a blob that is right waits for its readers, before it is
// synced to the disk.
const settleTime = time.Second

// keep makes an object of a copy that is right. Nobody waits for it.
func (f *fill) keep() {
	f.stopWorkers()
	f.settle()
	f.accuse()
	if f.back.object != nil {
		f.s.store.MarkVerified(f.digest)
		f.letGoOfObject()
	} else if err := f.back.spool.Commit(f.size, f.meta()); err != nil {
		f.s.counts.unkept.Add(1)
		f.unkept(err)
	}
	f.mu.Lock()
	f.ending = true
	f.mu.Unlock()
}

// settle waits until nobody reads, but not for long.
func (f *fill) settle() {
	ctx, cancel := context.WithTimeout(f.ctx, settleTime)
	defer cancel()
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.readers) > 0 && ctx.Err() == nil {
		f.waitLocked(ctx.Done())
	}
}

// meta says who may read the blob: all, if nobody had to log in for it.
func (f *fill) meta() blobstore.Meta {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	meta := blobstore.Meta{Public: !f.private, Added: now}
	if f.private {
		meta.Prove(f.by.String(), now, f.login)
	}
	return meta
}

// giveUp lets go of the file. What it has is kept for later, unless the disk is
// what failed, or all is there and wrong.
func (f *fill) giveUp() {
	f.mu.Lock()
	f.ending = true
	if f.ctx.Err() != nil {
		f.endLocked(failed, canceledError(context.Cause(f.ctx)))
	}
	f.endLocked(failed, canceledError(errAbandoned))
	f.mu.Unlock()
	f.stopWorkers()
	switch {
	case f.back.object != nil:
		f.letGoOfObject()
		return
	case f.back.spool == nil: // it could not be opened
		return
	}
	if err := f.putAway(); err != nil {
		f.s.log.Warn("partial blob could not be put away", "digest", f.digest, "error", err)
	}
}

// putAway ends the spool of a blob that is not finished.
func (f *fill) putAway() error {
	recordErr := f.record()
	f.mu.Lock()
	worth := f.size >= 0 && f.have.total > 0 && f.wrong < maxCopies
	state, cause := f.state, f.err
	f.mu.Unlock()
	if state == detached {
		f.unkept(cause)
	}
	if worth && state != detached && recordErr == nil {
		f.s.counts.suspended.Add(1)
		return f.back.spool.Suspend()
	}
	return f.back.spool.Discard()
}

var errAbandoned = errors.New("nobody wanted the rest")

// unkept tells of a blob that could not be stored. Of a disk that is full or may
// not be written the store has told already (FAULTS.md F33).
func (f *fill) unkept(err error) {
	level := slog.LevelWarn
	if errors.Is(err, blobstore.ErrFull) || errors.Is(err, blobstore.ErrReadOnly) {
		level = slog.LevelDebug
	}
	f.s.log.Log(f.ctx, level, "blob could not be kept", "digest", f.digest, "error", err)
}

func (f *fill) letGoOfObject() {
	_ = f.back.object.Close() // it was only read
}

// stopWorkers ends all workers and waits until they are gone.
func (f *fill) stopWorkers() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.haltLocked()
	for len(f.workers) > 0 {
		f.waitLocked(nil)
	}
}
