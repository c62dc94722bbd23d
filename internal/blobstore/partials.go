package blobstore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// ErrInUse says that a blob is being fetched at this moment.
var ErrInUse = errors.New("it is being fetched")

// A Partial is a blob on its way in, or what is left of an attempt that was given up
// for now.
type Partial struct {
	Digest  digest.Digest
	Here    int64     // bytes that are here
	Size    int64     // of all of it; -1 if it is not known
	Written time.Time // last, or when the fetch that is under way began
	Open    bool      // it is being fetched
}

// Partials returns every partial blob, sorted by digest. It waits until the directory
// has been read; when ctx ends first it returns nothing.
func (h *holdings) Partials(ctx context.Context) []Partial {
	select {
	case <-h.scanned:
	case <-ctx.Done():
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]Partial, 0, len(h.index.partials))
	for d, p := range h.index.partials {
		all = append(all, p.describe(d))
	}
	slices.SortFunc(all, func(a, b Partial) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	return all
}

// describe returns p, which is the partial blob d, as plain values. holdings.mu is held.
func (p *partial) describe(d digest.Digest) Partial {
	out := Partial{Digest: d, Here: p.bytes, Size: p.size, Written: p.written, Open: p.open}
	if p.spool != nil { // its bytes are what was promised
		out.Here = p.spool.written.Load()
	}
	if out.Size >= 0 { // a byte that was written twice is here once
		out.Here = min(out.Here, out.Size)
	}
	return out
}

// RemovePartial removes what an attempt has left of d, and returns how many bytes
// that were. The errors are ErrNotFound and, while d is being fetched, ErrInUse.
func (h *holdings) RemovePartial(d digest.Digest) (freed int64, err error) {
	name := h.name(d)
	name.Lock() // no Spool begins with the files that go
	defer name.Unlock()
	h.mu.Lock()
	p := h.index.partials[d]
	switch {
	case p == nil:
		err = ErrNotFound
	case p.open:
		err = ErrInUse
	default:
		freed = p.bytes
		h.index.dropPartial(d)
	}
	h.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return freed, h.unlinkPartial(d)
}
