package blobstore

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/opencontainers/go-digest"
)

// scrubSample is from how many objects Scrub takes the one that is due most: to
// know the order of all would cost more than it is worth.
const scrubSample = 16

// Scrub hashes one object, of a few the one whose bytes have not been looked at
// for the longest, and sets it aside if they are wrong (FAULTS.md F34). It does not
// look at those that were found right within age: ok is false if there is none to
// look at, or if the object went away meanwhile. slow is called before each read of
// at most n bytes, and may take its time. It counts as no use.
func (s *Store) Scrub(ctx context.Context, age time.Duration, slow func(n int64)) (found Finding, ok bool) {
	d, size, due := s.due(time.Now().Add(-age))
	if !due {
		return Finding{}, false
	}
	err := s.verify(untilDone{ctx: ctx, slow: slow}, d, make([]byte, 64<<10))
	if ctx.Err() != nil || err == ErrNotFound {
		return Finding{}, false
	}
	if err != nil && err != errWrongBytes {
		s.log.Warn("a stored blob cannot be read", "digest", d, "error", err)
		s.postpone(d)
	}
	return Finding{d, size, err}, true
}

// postpone counts d as looked at, so that others get their turn.
func (s *Store) postpone(d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.index.objects[d]; e != nil {
		e.right = time.Now()
	}
}

// due returns an object that was last found right before a time, if a few that
// are picked at random have one.
func (s *Store) due(before time.Time) (d digest.Digest, size int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range min(scrubSample, len(s.index.all)) {
		e := s.index.all[rand.IntN(len(s.index.all))]
		if right := e.foundRight(); right.Before(before) {
			d, size, ok, before = e.Digest, e.Size, true, right
		}
	}
	return d, size, ok
}

// foundRight is when e's bytes were last known to be right: when it came, if they
// were hashed on the way.
func (e *entry) foundRight() time.Time {
	if e.right.IsZero() && e.Verified {
		return e.Added
	}
	return e.right
}
