package fill

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/holdback"
)

// Bypass answers past the cache, which cannot keep the blob, or must not give it to this
// client: the balancer verifies it, and bytes still flow (docs/faults.md F33). The Body
// must be closed. Errors are *pullchain.Error.
func (s *Fills) Bypass(ctx context.Context, reg *Registry, req pullchain.Request) (pullchain.Response, error) {
	s.counts.bypassed.Add(1)
	resp, err := reg.Next.Fetch(ctx, req)
	if err != nil {
		return pullchain.Response{}, AsError(err)
	}
	resp.Cache = pullchain.CacheBypass
	return resp, nil
}

// A detachedBody is what a reader goes on with where its fill lost the disk in the
// middle of the blob. Its bytes pass through memory.
type detachedBody struct {
	resp   pullchain.Response
	cancel context.CancelFunc

	mu     sync.Mutex // held while src is read: Close may come at any time
	closed bool
	src    io.Reader // of resp.Body: what may be sent
	left   int64     // of a part; -1 for a whole, whose digest tells its end
	buf    []byte
	full   []byte // of buf: read and not sent
}

// leave goes on with an own request from the next byte on. Of a whole blob the
// bytes sent so far are hashed again, and the end is held back until it is right.
func (r *reader) leave() error {
	req := r.req
	req.Range = pullchain.Range{From: r.pos}
	if !r.whole {
		req.Range.To = r.stop
	}
	ctx, cancel := context.WithCancel(r.ctx)
	resp, err := r.f.fills.Bypass(ctx, r.reg, req)
	if err != nil {
		cancel()
		return err
	}
	d := &detachedBody{resp: resp, cancel: cancel, src: resp.Body, left: r.stop - r.pos, buf: make([]byte, bufferSize)}
	if err := r.continueWith(d); err != nil {
		d.Close()
		return AsError(err)
	}
	return nil
}

// continueWith makes d what the reader reads, if it goes on with the same blob at
// the next byte.
func (r *reader) continueWith(d *detachedBody) error {
	begins := int64(0)
	if d.resp.Status == http.StatusPartialContent {
		begins = d.resp.Range.From
	}
	if size := d.resp.Size; begins != r.pos || r.size >= 0 && size >= 0 && size != r.size {
		return mismatched("the rest of %d bytes from %d is answered with %d bytes from %d", r.size, r.pos, size, begins)
	}
	if r.whole {
		held := holdback.New(d.resp.Body, r.req.Digest, max(r.stop-r.pos, -1))
		if err := held.Hash(r.file.File, r.pos); err != nil {
			return err
		}
		d.src, d.left = held, -1
	}
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	if r.closed {
		return canceledBy(os.ErrClosed)
	}
	r.alone = d
	return nil
}

// next reads on, once all that was read is sent.
func (d *detachedBody) next() (pullchain.Section, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.full) == 0 {
		if d.closed {
			return pullchain.Section{}, canceledBy(os.ErrClosed)
		}
		if d.left == 0 {
			return pullchain.Section{}, io.EOF
		}
		p := d.buf
		if d.left > 0 {
			p = p[:min(d.left, int64(len(p)))]
		}
		n, err := d.src.Read(p)
		if n == 0 && err != nil {
			return pullchain.Section{}, d.ended(err)
		}
		if d.full = p[:n]; d.left > 0 {
			d.left -= int64(n)
		}
	}
	return pullchain.Section{Content: bytes.NewReader(d.full), Size: int64(len(d.full))}, nil
}

// ended says what the end of the body means.
func (d *detachedBody) ended(err error) error {
	switch {
	case err == io.EOF && d.left < 0:
		return io.EOF
	case err == io.EOF:
		return &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeTruncated, Err: io.ErrUnexpectedEOF}
	}
	if wrong, ok := errors.AsType[*holdback.MismatchError](err); ok {
		return mismatched("%w", wrong)
	}
	return AsError(err)
}

// sent belongs to the goroutine of next.
func (d *detachedBody) sent(n int64) { d.full = d.full[n:] }

func (d *detachedBody) attempts() []pullchain.Attempt { return d.resp.Trace() }

// Close ends the read that may be under way, and lets go of the body.
func (d *detachedBody) Close() error {
	d.cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return d.resp.Body.Close()
}
