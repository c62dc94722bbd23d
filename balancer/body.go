package balancer

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/holdback"
)

// body returns what the client reads of won: a reader that goes on from other
// lanes and, where the whole blob passes through it and the caller does not verify
// it, that never completes a wrong one.
func (b *Balancer) body(ctx context.Context, req pullchain.Request, won *winner, log *attemptLog) pullchain.Body {
	s := &stream{b: b, ctx: ctx, req: req, log: log, won: won, size: won.resp.Size, end: won.resp.Size}
	if won.resp.Status == http.StatusPartialContent {
		s.pos, s.end = won.resp.Range.From, won.resp.Range.To
	}
	s.senders.add(won)
	whole := s.pos == 0 && s.end == s.size
	if req.Options.Unverified || !whole || !req.Digest.Algorithm().Available() {
		return &blobBody{ReadCloser: s, s: s}
	}
	return &blobBody{ReadCloser: &verified{s: s, held: holdback.New(s, req.Digest, s.size)}, s: s}
}

// A blobBody is what a client of the Balancer reads: the stream, as it is or
// verified, and what the stream has to tell.
type blobBody struct {
	io.ReadCloser
	s *stream
}

// Attempts returns every attempt so far, also those after the headers.
func (b *blobBody) Attempts() []pullchain.Attempt { return b.s.log.attempts() }

// Source names the lane that the last bytes came from, and the login of any lane
// that has sent, or is about to.
func (b *blobBody) Source() pullchain.Source {
	sent := &b.s.senders
	return pullchain.Source{Upstream: sent.last().Name(), Private: sent.private, Login: sent.login, Unproved: sent.unproved}
}

// Sections returns none: the bytes come from a connection.
func (b *blobBody) Sections() pullchain.Sections { return nil }

// verified reads a whole blob whose end is held back until its digest is known to
// be right (docs/faults.md F20), and tells the lane how that went.
type verified struct {
	s    *stream
	held *holdback.Reader
	err  error // final
}

func (v *verified) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.held.Read(p)
	if err != nil {
		v.err = v.ended(err)
	}
	return n, v.err
}

// ended reports the end of the blob to the lane, and returns what the client is
// told of it.
func (v *verified) ended(err error) error {
	if err == io.EOF {
		v.s.finish(nil)
		return err
	}
	if wrong, ok := errors.AsType[*holdback.MismatchError](err); ok {
		e := mismatch(pullchain.CodeDigestMismatch, "%w", wrong)
		v.s.blame(e)
		return e
	}
	return err // the stream has said already what it means, and which lanes failed
}

func (v *verified) Close() error { return v.s.Close() }
