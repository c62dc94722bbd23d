package blobstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
)

// A Finding is what Verify found of one object.
type Finding struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	Err    error         `json:"-"` // nil when it is right
}

// errWrongBytes is what is reported of content that is not what
// its digest says.
var errWrongBytes = errors.New("its bytes are not those of its digest")

// Verify hashes every object, tells report of each, and quarantines those that are
// wrong. It ends early when ctx is done. An object that cannot be read is
// reported and left where it is.
func (s *Store) Verify(ctx context.Context, report func(Finding)) error {
	buf := make([]byte, 256<<10)
	for info := range s.All(ctx) {
		err := s.verify(untilDone{ctx: ctx}, info.Digest, buf)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == ErrNotFound {
			continue // evicted meanwhile; one that was cut short says more
		}
		report(Finding{info.Digest, info.Size, err})
	}
	return ctx.Err()
}

// verify hashes one object, which it reads as r does.
func (s *Store) verify(r untilDone, d digest.Digest, buf []byte) error {
	o, err := s.Peek(d)
	if err != nil {
		return err
	}
	defer o.Close()
	hash := d.Algorithm().Hash()
	r.file = o.File
	if _, err := io.CopyBuffer(hash, r, buf); err != nil {
		return fmt.Errorf("it cannot be read: %w", err)
	}
	if digest.NewDigest(d.Algorithm(), hash) == d {
		s.MarkVerified(d)
		return nil
	}
	_ = s.quarantine(o.entry, errWrongBytes) // why it could not be moved, Stats tells
	return errWrongBytes
}

// An untilDone is a file that ends when a context does. It hides the file's
// WriteTo, which would not look.
type untilDone struct {
	ctx  context.Context
	file *os.File
	slow func(n int64) // is called before each read, of at most n bytes; nil: is not
}

func (r untilDone) Read(p []byte) (int, error) {
	if r.slow != nil {
		r.slow(int64(len(p)))
	}
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.file.Read(p)
}
