package cache

import (
	"fmt"
	"io"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
)

// An objectBody is content of the store that is known to be right: all of it may
// be sent at once. It reads at offsets, from whatever holds the content.
type objectBody struct {
	content io.ReaderAt
	closer  io.Closer
	at, end int64
}

// hit answers with bytes of an object, and owns it: it is closed with the body,
// or with the error that the range is none of it.
func hit(o *blobstore.Object, rng pullchain.Range) (pullchain.Response, error) {
	resp, carried, err := fill.AnswerOf(pullchain.Request{Digest: o.Digest, Range: rng}, o.Size)
	if err != nil {
		_ = o.Close() // it was only read
		return pullchain.Response{}, err
	}
	resp.MediaType, resp.Private, resp.Cache = o.MediaType, !o.Public, pullchain.CacheHit
	resp.Body = &objectBody{content: o.File, closer: o, at: carried.From, end: carried.To}
	return resp, nil
}

// Sections returns the body itself.
func (b *objectBody) Sections() pullchain.Sections { return b }

// Next returns all that is left, and io.EOF when nothing is.
func (b *objectBody) Next() (pullchain.Section, error) {
	if b.at == b.end {
		return pullchain.Section{}, io.EOF
	}
	return pullchain.Section{Content: b.content, Offset: b.at, Size: b.end - b.at}, nil
}

// Sent moves on by n bytes.
func (b *objectBody) Sent(n int64) { b.at += n }

// Attempts returns none: no upstream was asked.
func (b *objectBody) Attempts() []pullchain.Attempt { return nil }

// Source returns none: the bytes are the store's.
func (b *objectBody) Source() pullchain.Source { return pullchain.Source{} }

func (b *objectBody) Read(p []byte) (int, error) {
	if b.at == b.end {
		return 0, io.EOF
	}
	n, err := b.content.ReadAt(p[:min(b.end-b.at, int64(len(p)))], b.at)
	b.at += int64(n)
	if err != nil && n == 0 && len(p) > 0 {
		return 0, fill.AsError(fmt.Errorf("reading a stored blob: %w", err))
	}
	return n, nil
}

// Close lets go of the object.
func (b *objectBody) Close() error { return b.closer.Close() }
