package blobstore

import (
	"context"
	"fmt"
	"os"
	"time"
)

// claim makes room for n bytes and counts them by count, which is called with
// s.mu held. Without room it returns ErrFull, and nothing has gone. ctx bounds the
// wait for the scan, as in awaitScan.
func (h *holdings) claim(ctx context.Context, n int64, count func(n int64)) error {
	h.mu.Lock()
	victims, err := h.index.pickOver(n)
	if err != nil {
		limit := h.index.limit
		h.mu.Unlock()
		return h.health.failedBusy(limit, err)
	}
	count(n) // before anything is unlinked, so that no other writer takes this room
	h.mu.Unlock()
	h.unlinkAll(victims)
	if err := h.keepDiskFree(ctx); err != nil {
		h.mu.Lock()
		count(-n)
		h.mu.Unlock()
		return err
	}
	return nil
}

// fits returns ErrFull when something of n bytes has no room even when all else
// goes. That is no trouble of the store's.
func (h *holdings) fits(n int64) error {
	h.mu.Lock()
	limit := h.index.limit
	h.mu.Unlock()
	if n > limit {
		return fmt.Errorf("%w: %d bytes are more than its limit, %v", ErrFull, n, Size(limit))
	}
	return nil
}

// unlinkAll removes the files of victims, and returns the bytes that this freed.
func (h *holdings) unlinkAll(victims []victim) (freed int64) {
	for _, v := range victims {
		if h.unlinkVictim(v) {
			freed += v.size
		}
	}
	return freed
}

// unlinkVictim removes a victim's files, unless the digest has come back in the
// meantime: then the files are the new ones.
func (h *holdings) unlinkVictim(v victim) bool {
	name := h.name(v.digest)
	name.Lock()
	defer name.Unlock()
	h.mu.Lock()
	back := h.index.objects[v.digest] != nil
	if v.partial {
		back = h.index.partials[v.digest] != nil
	}
	h.mu.Unlock()
	switch {
	case back:
		return false
	case v.partial:
		return h.unlinkPartial(v.digest) == nil
	default:
		return h.unlink(v.digest) == nil
	}
}

// evict frees n bytes of the disk, or what it can, and returns how many. It fails
// only as awaitScan does.
func (h *holdings) evict(ctx context.Context, n int64) (freed int64, err error) {
	if freed = h.dropQuarantined(0, 0); freed >= n {
		return freed, nil
	}
	if err := h.awaitScan(ctx); err != nil {
		return freed, err
	}
	h.mu.Lock()
	before := h.index.evictions
	victims := h.index.pick(n - freed)
	h.index.forDisk += h.index.evictions - before
	h.mu.Unlock()
	return freed + h.unlinkAll(victims), nil
}

// scanPatience is how long a writer waits for the scan, whatever its caller's context
// allows: a blob on its way in belongs to no request, and its readers are better off
// past the store than waiting for it.
const scanPatience = 5 * time.Second

// awaitScan waits until the directory has been read, because what may go is known
// only then. Reading a large directory takes minutes on a slow disk, so a writer
// waits no longer than its ctx and the store last, nor than scanPatience: then it
// finds no room.
func (h *holdings) awaitScan(ctx context.Context) error {
	select {
	case <-h.scanned: // comes before a ctx that is done as well
	default:
		select {
		case <-h.scanned:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrFull, context.Cause(ctx))
		case <-time.After(scanPatience):
			return fmt.Errorf("%w: what may go is not known yet", ErrFull)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.index.placed { // Close has cut the scan short
		return fmt.Errorf("%w: %w", ErrFull, os.ErrClosed)
	}
	return nil
}

// evictOverLimit evicts what is over the limit.
func (h *holdings) evictOverLimit() (freed int64) {
	h.mu.Lock()
	var victims []victim
	if h.index.placed && !h.health.now().readOnly {
		victims = h.index.pick(h.index.total() - h.index.limit)
	}
	h.mu.Unlock()
	return h.unlinkAll(victims)
}

// keepFree is how much of a file system is left to others: a twentieth, 1 GiB at
// most (docs/faults.md F33).
func keepFree(total int64) int64 { return min(total/20, 1<<30) }

// keepDiskFree evicts when what Puts and Spools have been promised, and have not
// written, would leave too little of the disk free.
func (h *holdings) keepDiskFree(ctx context.Context) error {
	free, total, ok := h.disk.space(h.dir)
	if !ok {
		return nil
	}
	h.mu.Lock()
	n := h.index.incoming
	// A file system counts a sparse file by what is written, so that the remaining
	// bytes of every open Spool still have to find their room.
	for _, p := range h.index.partials {
		if p.spool != nil {
			n += max(p.bytes-p.spool.written.Load(), 0)
		}
	}
	h.mu.Unlock()
	short := n + keepFree(total) - free
	if short <= 0 {
		return nil
	}
	// When all that could go is not enough, nothing goes: other programs
	// fill the disk, and what is here can still be served.
	if err := h.awaitScan(ctx); err != nil {
		return err
	}
	h.mu.Lock()
	idle := h.index.idle()
	h.mu.Unlock()
	if idle >= short {
		if freed, err := h.evict(ctx, short); err != nil || freed >= short {
			return err
		}
	}
	return h.health.failed(&os.PathError{Op: "write", Path: h.dir, Err: errNoSpace})
}

// retry runs a write of about n bytes, and once more after evicting when the disk
// was full: the limit may be larger than the disk, and other programs fill it too.
// Once is enough, since a disk that is full after that is being filled by others.
func (h *holdings) retry(ctx context.Context, n int64, write func() error) error {
	err := write()
	if isFull(err) {
		switch freed, ended := h.evict(ctx, n+h.slack()); {
		case freed > 0:
			err = write()
		case ended != nil:
			err = ended
		}
	}
	if err != nil {
		return h.health.failed(err)
	}
	h.health.writable()
	return nil
}

// slack is how much more than needed is evicted when the disk is full, so that
// not every write finds it full again.
func (t *tree) slack() int64 {
	if _, total, ok := t.disk.space(t.dir); ok {
		return min(total/64, 64<<20)
	}
	return 16 << 20
}
