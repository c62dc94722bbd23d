package blobstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
)

// A victim has left the index; its files are still there.
type victim struct {
	digest  digest.Digest
	size    int64
	partial bool
}

var errAllBusy = errors.New("all of it is pinned or in use")

// A partial is a blob on its way in, as the index knows it. It is guarded by
// Store.mu.
type partial struct {
	bytes   int64 // counted towards the limit: what was promised or written
	size    int64 // of the whole blob; -1 if it is not known
	written time.Time
	open    bool   // never evicted
	spool   *Spool // while it is open
}

// total is what counts towards the limit.
func (x *index) total() int64 { return x.bytes + x.partBytes + x.incoming }

// pickOver picks what must go for n more bytes to fit under the limit.
// Before the directory has been read nothing goes: the end of the scan makes up for it.
func (x *index) pickOver(n int64) ([]victim, error) {
	// All or nothing: what cannot make enough room must not go for nothing.
	over := x.total() + n - x.limit
	if over <= 0 || !x.placed {
		return nil, nil
	}
	if over > x.idle() {
		return nil, fmt.Errorf("%w: %w", ErrFull, errAllBusy)
	}
	return x.pick(over), nil
}

// idle is how much could be evicted.
func (x *index) idle() int64 {
	idle := x.bytes - x.busy
	for _, p := range x.partials {
		if !p.open {
			idle += p.bytes
		}
	}
	return idle
}

// pick takes n bytes out of the index, or as many as may go: what was not
// finished first, the oldest before the others, then whole content.
func (x *index) pick(n int64) []victim {
	var victims []victim
	for n > 0 {
		d, p := x.oldestPartial()
		if p == nil {
			break
		}
		x.dropPartial(d)
		victims = append(victims, victim{d, p.bytes, true})
		n -= p.bytes
	}
	for n > 0 {
		e := x.victim()
		if e == nil {
			break
		}
		x.evictions++
		victims = append(victims, victim{e.Digest, e.Size, false})
		n -= e.Size
	}
	return victims
}

// oldestPartial returns the partial blob that is not open and that was
// written longest ago.
func (x *index) oldestPartial() (oldest digest.Digest, found *partial) {
	for d, p := range x.partials {
		if !p.open && (found == nil || p.written.Before(found.written)) {
			oldest, found = d, p
		}
	}
	return oldest, found
}

// dropPartial takes a partial blob out of the index.
func (x *index) dropPartial(d digest.Digest) {
	if p := x.partials[d]; p != nil {
		x.partBytes -= p.bytes
		p.spool = nil
		delete(x.partials, d)
	}
}
