package blobstore

import (
	"context"
	"fmt"
	"os"
)

// claim makes room for n bytes and counts them by count, which is called with
// s.mu held. Without room it returns ErrFull, and nothing has gone. ctx bounds the
// wait for the scan, as in awaitScan.
func (s *Store) claim(ctx context.Context, n int64, count func(n int64)) error {
	s.mu.Lock()
	victims, err := s.index.pickOver(n)
	if err != nil {
		limit := s.index.limit
		s.mu.Unlock()
		return s.health.failedBusy(limit, err)
	}
	count(n)
	s.mu.Unlock()
	s.unlinkAll(victims)
	if err := s.keepDiskFree(ctx); err != nil {
		s.mu.Lock()
		count(-n)
		s.mu.Unlock()
		return err
	}
	return nil
}

// fits returns ErrFull when something of n bytes has no room even when all else
// goes. That is no trouble of the store's.
func (s *Store) fits(n int64) error {
	s.mu.Lock()
	limit := s.index.limit
	s.mu.Unlock()
	if n > limit {
		return fmt.Errorf("%w: %d bytes are more than its limit, %v", ErrFull, n, Size(limit))
	}
	return nil
}

// unlinkAll removes the files of victims, and returns the bytes that this freed.
func (s *Store) unlinkAll(victims []victim) (freed int64) {
	for _, v := range victims {
		if s.unlinkVictim(v) {
			freed += v.size
		}
	}
	return freed
}

// unlinkVictim removes a victim's files, unless the digest has come back in the
// meantime: then the files are the new ones.
func (s *Store) unlinkVictim(v victim) bool {
	name := s.name(v.digest)
	name.Lock()
	defer name.Unlock()
	s.mu.Lock()
	back := s.index.objects[v.digest] != nil
	if v.partial {
		back = s.index.partials[v.digest] != nil
	}
	s.mu.Unlock()
	switch {
	case back:
		return false
	case v.partial:
		return s.unlinkPartial(v.digest) == nil
	default:
		return s.unlink(v.digest) == nil
	}
}

// evict frees n bytes of the disk, or what it can, and returns how many. It fails
// only as awaitScan does.
func (s *Store) evict(ctx context.Context, n int64) (freed int64, err error) {
	if freed = s.dropQuarantined(0, 0); freed >= n {
		return freed, nil
	}
	if err := s.awaitScan(ctx); err != nil {
		return freed, err
	}
	s.mu.Lock()
	victims := s.index.pick(n - freed)
	s.mu.Unlock()
	return freed + s.unlinkAll(victims), nil
}

// awaitScan waits until the directory has been read, because what may go is known
// only then. Reading a large directory takes minutes on a slow disk, so a writer
// waits no longer than its ctx and the store last: then it finds no room.
func (s *Store) awaitScan(ctx context.Context) error {
	select {
	case <-s.scanned: // comes before a ctx that is done as well
	default:
		select {
		case <-s.scanned:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrFull, context.Cause(ctx))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.index.placed { // Close has cut the scan short
		return fmt.Errorf("%w: %w", ErrFull, os.ErrClosed)
	}
	return nil
}

// evictOverLimit evicts what is over the limit.
func (s *Store) evictOverLimit() (freed int64) {
	s.mu.Lock()
	var victims []victim
	if s.index.placed && !s.health.now().readOnly {
		victims = s.index.pick(s.index.total() - s.index.limit)
	}
	s.mu.Unlock()
	return s.unlinkAll(victims)
}

// keepFree is how much of a file system is left to others: a twentieth, 1 GiB at
// most (FAULTS.md F33).
func keepFree(total int64) int64 { return min(total/20, 1<<30) }

// keepDiskFree evicts when what Puts and Spools have been promised, and have not
// written, would leave too little of the disk free.
func (s *Store) keepDiskFree(ctx context.Context) error {
	free, total, ok := s.disk.space(s.dir)
	if !ok {
		return nil
	}
	s.mu.Lock()
	n := s.index.incoming
	for _, p := range s.index.partials {
		if p.spool != nil {
			n += max(p.bytes-p.spool.written.Load(), 0)
		}
	}
	s.mu.Unlock()
	short := n + keepFree(total) - free
	if short <= 0 {
		return nil
	}
	// When all that could go is not enough, nothing goes: other programs
	// fill the disk, and what is here can still be served.
	if err := s.awaitScan(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	idle := s.index.idle()
	s.mu.Unlock()
	if idle >= short {
		if freed, err := s.evict(ctx, short); err != nil || freed >= short {
			return err
		}
	}
	return s.health.failed(&os.PathError{Op: "write", Path: s.dir, Err: errNoSpace})
}

// retry runs a write of about n bytes, and once more after evicting when the disk
// was full.
func (s *Store) retry(ctx context.Context, n int64, write func() error) error {
	err := write()
	if isFull(err) {
		switch freed, ended := s.evict(ctx, n+s.slack()); {
		case freed > 0:
			err = write()
		case ended != nil:
			err = ended
		}
	}
	if err != nil {
		return s.health.failed(err)
	}
	s.health.writable()
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
