package cache

import (
	"fmt"
	"io"
	"os"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
)

// An objectBody is content of the store that is known to be right: all of it may
// be sent at once.
type objectBody struct {
	object *blobstore.Object
	left   int64
}

// hit answers with bytes of an object, and owns it: it is closed with the body,
// or with the error that the range is none of it.
func hit(o *blobstore.Object, rng pullchain.Range) (pullchain.Response, error) {
	resp, carried, err := answerOf(pullchain.Request{Digest: o.Digest, Range: rng}, o.Size)
	if err == nil {
		_, err = o.File.Seek(carried.From, io.SeekStart)
	}
	if err != nil {
		_ = o.Close() // it was only read
		return pullchain.Response{}, asError(err)
	}
	resp.MediaType, resp.Private, resp.Cache = o.MediaType, !o.Public, pullchain.CacheHit
	resp.Body = &objectBody{object: o, left: carried.To - carried.From}
	return resp, nil
}

// File returns the object's file, with its offset at the next byte to send.
func (b *objectBody) File() *os.File { return b.object.File }

// Ready returns how many bytes are left, and io.EOF when none are.
func (b *objectBody) Ready() (int64, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	return b.left, nil
}

// Sent notes that the file's offset has moved by n.
func (b *objectBody) Sent(n int64) { b.left -= n }

// Attempts returns none: nobody was asked.
func (b *objectBody) Attempts() []pullchain.Attempt { return nil }

func (b *objectBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.object.File.Read(p[:min(b.left, int64(len(p)))])
	b.left -= int64(n)
	if err != nil && n == 0 && len(p) > 0 {
		return 0, asError(fmt.Errorf("reading a stored blob: %w", err))
	}
	return n, nil
}

// Close lets go of the object.
func (b *objectBody) Close() error { return b.object.Close() }
