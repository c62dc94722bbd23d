package blobstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
)

// Info is what is known of an object.
type Info struct {
	Meta
	Digest   digest.Digest `json:"digest"`
	Size     int64         `json:"size"`
	Used     time.Time     `json:"used"`     // last
	Verified bool          `json:"verified"` // hashed since this process began, by any reader
}

// Stat returns what is known of d, without counting as a use. The Repos map is
// not to be changed.
func (s *Store) Stat(d digest.Digest) (Info, bool) { return s.stat(d) }

// stat is Stat.
func (h *holdings) stat(d digest.Digest) (Info, bool) {
	h.mu.Lock()
	if e := h.index.objects[d]; e != nil {
		info := e.Info
		h.mu.Unlock()
		return info, true
	}
	placed := h.index.placed
	h.mu.Unlock()
	if placed || !h.load(d) {
		return Info{}, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.index.objects[d]; e != nil {
		return e.Info, true
	}
	return Info{}, false
}

// An Object is content that is being read. Its file is its own: no other reader
// moves its offset.
type Object struct {
	Info
	File *os.File

	store  *Store
	entry  *entry
	closed atomic.Bool
}

// Open returns the object d, or ErrNotFound. A file of another size than when it
// was stored is quarantined and not found (docs/faults.md F34). It must be closed; until
// then it is not evicted.
func (s *Store) Open(d digest.Digest) (*Object, error) { return s.openObject(d, true) }

// Peek is Open for a look that is not to count as a use.
func (s *Store) Peek(d digest.Digest) (*Object, error) { return s.openObject(d, false) }

// openObject opens an object, which is a use or not.
func (s *Store) openObject(d digest.Digest, use bool) (*Object, error) {
	e, info := s.acquire(d, use)
	if e == nil {
		return nil, ErrNotFound
	}
	f, err := s.disk.open(s.blobPath(d))
	if err != nil {
		s.release(e)
		if errors.Is(err, fs.ErrNotExist) { // removed behind our back: the files are the truth
			s.forget(e)
			return nil, ErrNotFound
		}
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && st.Size() == info.Size {
		return &Object{Info: info, File: f, store: s, entry: e}, nil
	}
	_ = f.Close()
	s.release(e)
	if err != nil {
		return nil, err
	}
	err = fmt.Errorf("%w: it has %d bytes instead of %d", ErrNotFound, st.Size(), info.Size)
	_ = s.quarantine(e, err) // it is not found, whether it could be moved or not
	return nil, err
}

// acquire finds d and keeps it from being evicted.
func (s *Store) acquire(d digest.Digest, use bool) (*entry, Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.index.objects[d]
	if e == nil && !s.index.placed {
		s.mu.Unlock()
		s.load(d)
		s.mu.Lock()
		e = s.index.objects[d]
	}
	if e == nil {
		return nil, Info{}
	}
	if use {
		usage{s}.noteLocked(e)
	}
	s.index.acquire(e)
	return e, e.Info
}

// release undoes acquire.
func (h *holdings) release(e *entry) {
	h.mu.Lock()
	h.index.release(e)
	h.mu.Unlock()
}

// Close lets go of the object. A second Close does nothing.
func (o *Object) Close() error {
	if o.closed.Swap(true) {
		return nil
	}
	err := o.File.Close()
	o.store.release(o.entry)
	return err
}

// forget takes out an entry whose file was removed behind our back.
func (h *holdings) forget(e *entry) {
	h.mu.Lock()
	if !e.gone {
		h.index.drop(e)
	}
	h.mu.Unlock()
}

// known makes sure that d is in the index if it is on the disk, and reports that.
func (h *holdings) known(d digest.Digest) bool {
	_, ok := h.stat(d)
	return ok
}

// Touch counts a use of d, for callers that keep the bytes of small content
// themselves.
func (s *Store) Touch(d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.index.objects[d]; e != nil {
		usage{s}.noteLocked(e)
	}
}

// MarkVerified records that d's bytes have been hashed and are right.
func (s *Store) MarkVerified(d digest.Digest) {
	if !s.known(d) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.index.objects[d]; e != nil {
		e.Verified, e.right = true, time.Now()
	}
}

// All returns every object, in no order. It waits until the directory has been
// read.
func (s *Store) All(ctx context.Context) iter.Seq[Info] {
	return func(yield func(Info) bool) {
		select {
		case <-s.scanned:
		case <-ctx.Done():
			return
		}
		for _, e := range s.entries() {
			s.mu.Lock()
			info, gone := e.Info, e.gone
			s.mu.Unlock()
			if !gone && (ctx.Err() != nil || !yield(info)) {
				return
			}
		}
	}
}

// entries returns every entry of this moment.
func (h *holdings) entries() []*entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.index.all)
}
