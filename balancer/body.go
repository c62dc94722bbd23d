package balancer

import (
	"context"
	"hash"
	"io"
	"net/http"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
)

// body returns what the client reads of won: a reader that goes on from other
// lanes and, where the whole blob passes through it and nobody else verifies it,
// that never completes a wrong one.
func (b *Balancer) body(ctx context.Context, req pullchain.Request, won *answer, t *trail) pullchain.Body {
	s := &stream{b: b, ctx: ctx, req: req, trail: t, won: won, size: won.resp.Size}
	s.from, s.end = 0, won.resp.Size
	if won.resp.Status == http.StatusPartialContent {
		s.from, s.end = won.resp.Range.From, won.resp.Range.To
	}
	s.pos = s.from
	s.segments = []segment{{lane: won.lane, from: s.pos}}
	s.private, s.login = won.resp.Private, won.resp.Login
	whole := s.from == 0 && s.end == s.size
	if req.Options.Unverified || !whole || !req.Digest.Algorithm().Available() {
		return &blobBody{ReadCloser: s, s: s}
	}
	return &blobBody{ReadCloser: &verified{s: s, hash: req.Digest.Algorithm().Hash()}, s: s}
}

// A blobBody is what a client of the Balancer reads: the stream, as it is or
// verified, and what the stream has to tell.
type blobBody struct {
	io.ReadCloser
	s *stream
}

// Attempts returns every attempt so far, also those after the headers.
func (b *blobBody) Attempts() []pullchain.Attempt { return b.s.trail.attempts() }

// Source names the lane that the last bytes came from, and the login of any lane
// that has sent, or is about to.
func (b *blobBody) Source() pullchain.Source {
	last := b.s.segments[len(b.s.segments)-1].lane
	return pullchain.Source{Upstream: last.Name(), Private: b.s.private, Login: b.s.login}
}

// Sections returns none: the bytes come from a connection.
func (b *blobBody) Sections() pullchain.Sections { return nil }

// holdBack is how much of a blob's end is kept until its digest is known to be
// right, so that no client ever holds a complete wrong blob (FAULTS.md F20).
const holdBack = 64 << 10

// verified reads a whole blob and hashes it on the way.
type verified struct {
	s    *stream
	hash hash.Hash
	tail []byte // read and proved right, and not yet delivered
	err  error  // what Read returns once the tail is delivered
	once sync.Once
}

func (v *verified) Read(p []byte) (int, error) {
	if v.err != nil && len(v.tail) == 0 {
		return 0, v.err
	}
	if v.err == nil && (v.s.size < 0 || v.s.pos < v.s.size-holdBack) {
		if v.s.size >= 0 {
			p = p[:min(int64(len(p)), v.s.size-holdBack-v.s.pos)]
		}
		n, err := v.s.Read(p)
		v.hash.Write(p[:n])
		if err == io.EOF {
			err = v.check()
			v.err = err
		}
		return n, err
	}
	v.once.Do(v.readTail)
	if len(v.tail) == 0 {
		return 0, v.err
	}
	n := copy(p, v.tail)
	v.tail = v.tail[n:]
	return n, nil
}

// readTail reads the end of the blob, and lets go of it if the whole is right.
func (v *verified) readTail() {
	tail := make([]byte, v.s.size-v.s.pos)
	n, err := io.ReadFull(v.s, tail)
	v.hash.Write(tail[:n])
	if err != nil {
		v.err = unexpected(err)
		return
	}
	if v.err = v.check(); v.err == io.EOF {
		v.tail = tail
	}
}

// check returns io.EOF if the bytes read are the blob, and blames who sent them
// if they are not.
func (v *verified) check() error {
	got := digest.NewDigest(v.s.req.Digest.Algorithm(), v.hash)
	if got == v.s.req.Digest {
		v.s.finish(nil)
		return io.EOF
	}
	err := mismatch(pullchain.CodeDigestMismatch, "asked for %s, got %s", v.s.req.Digest, got)
	v.s.blame(err)
	return err
}

func (v *verified) Close() error { return v.s.Close() }
