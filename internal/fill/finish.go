package fill

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/openfiles"
)

// abandonedLocked reports whether what is missing is not wanted any more.
func (f *fill) abandonedLocked() bool {
	return len(f.readers) == 0 && (f.abandonment.over || !f.plan.goesOn()) && !f.phase.final()
}

// readersGrace is how long a blob that is right waits for its readers, before it is
// synced to the disk: a sync holds up those that still read from it.
const readersGrace = time.Second

// keep makes an object of a copy that is right. No reader waits for it.
func (f *fill) keep() {
	f.stopWorkers()
	f.awaitReaders()
	f.attribute()
	if back := f.copy.back; back.object != nil {
		f.fills.store.MarkVerified(f.digest)
		_ = back.object.Close() // it was only read
	} else if err := back.spool.Commit(f.copy.size, f.meta()); err != nil {
		f.fills.counts.unkept.Add(1)
		f.unkept(err)
	}
	f.mu.Lock()
	f.closing = true
	f.mu.Unlock()
}

// awaitReaders waits until no reader is left, but not for long.
func (f *fill) awaitReaders() {
	ctx, cancel := context.WithTimeout(f.ctx, readersGrace)
	defer cancel()
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.readers) > 0 && ctx.Err() == nil {
		f.changes.wait(&f.mu, ctx.Done())
	}
}

// meta says what may read the blob: every repository, if it took no login.
func (f *fill) meta() blobstore.Meta {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	meta := blobstore.Meta{Public: !f.access.private, Added: now}
	if f.access.private {
		meta.Prove(f.by.String(), now, f.access.login)
	}
	return meta
}

// giveUp lets go of the file. What it has is kept for later, unless the disk is
// what failed, or all is there and wrong.
func (f *fill) giveUp() {
	f.mu.Lock()
	f.closing = true
	if f.ctx.Err() != nil {
		f.enterLocked(failed, Canceled(f.ctx))
	}
	f.enterLocked(failed, canceledBy(errAbandoned))
	f.mu.Unlock()
	f.stopWorkers()
	switch back := f.copy.back; {
	case back.object != nil:
		_ = back.object.Close() // it was only read
		return
	case back.spool == nil: // it could not be opened
		return
	}
	if err := f.putAway(); err != nil {
		f.fills.log.Warn("partial blob could not be put away", "digest", f.digest, "error", err)
	}
}

// putAway ends the spool of a blob that is not finished.
func (f *fill) putAway() error {
	recordErr := f.record()
	f.mu.Lock()
	c, phase, cause := f.copy, f.phase, f.err
	worth := c.size >= 0 && c.have.total >= minPiece && f.repairs.wrong < maxCopies
	f.mu.Unlock()
	if phase == detached {
		f.unkept(cause)
	}
	if worth && phase != detached && recordErr == nil {
		f.fills.counts.suspended.Add(1)
		return c.back.spool.Suspend()
	}
	return c.back.spool.Discard()
}

var errAbandoned = errors.New("the rest was not wanted")

// unkept tells of a blob that could not be stored. Of a disk that is full or may
// not be written the store has told already (docs/faults.md F33), and of descriptors the
// listener (F57).
func (f *fill) unkept(err error) {
	level := slog.LevelWarn
	if errors.Is(err, blobstore.ErrFull) || errors.Is(err, blobstore.ErrReadOnly) || openfiles.Short(err) {
		level = slog.LevelDebug
	}
	f.fills.log.Log(f.ctx, level, "blob could not be kept", "digest", f.digest, "error", err)
}
