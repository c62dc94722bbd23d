package cache

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"github.com/pullchain/pullchain"
)

// direct answers past the cache, which cannot keep the blob: the balancer
// verifies it, and bytes still flow (FAULTS.md F33).
func (s *fills) direct(ctx context.Context, reg *registry, req pullchain.Request) (pullchain.Response, error) {
	s.counts.bypassed.Add(1)
	resp, err := reg.next.Fetch(ctx, req)
	if err != nil {
		return pullchain.Response{}, asError(err)
	}
	resp.Cache = pullchain.CacheBypass
	return resp, nil
}

// A detached reader goes on by itself where its fill lost the disk in the middle
// of the blob. Its bytes pass through memory.
type detachedBody struct {
	pullchain.Body
	src  io.Reader // of the Body: what may be sent
	left int64     // of a part; -1 for a whole, whose digest tells its end
	buf  []byte
	full []byte // of buf: read and not sent
	resp pullchain.Response
}

// leave goes on with an own request from the next byte on. Of a whole blob the
// bytes sent so far are hashed again, and the end is held back until it is right.
func (r *reader) leave() error {
	req := r.req
	req.Range = pullchain.Range{From: r.pos}
	if !r.whole {
		req.Range.To = r.stop
	}
	resp, err := r.f.s.direct(r.ctx, r.reg, req)
	if err != nil {
		return err
	}
	alone, err := r.detached(resp)
	if err != nil {
		resp.Body.Close()
		return asError(err)
	}
	r.alone = alone
	return nil
}

func (r *reader) detached(resp pullchain.Response) (*detachedBody, error) {
	begins := int64(0)
	if resp.Status == http.StatusPartialContent {
		begins = resp.Range.From
	}
	if begins != r.pos || r.size >= 0 && resp.Size >= 0 && resp.Size != r.size {
		return nil, mismatch("the rest of %d bytes from %d is answered with %d bytes from %d", r.size, r.pos, resp.Size, begins)
	}
	d := &detachedBody{Body: resp.Body, src: resp.Body, left: r.stop - r.pos, buf: make([]byte, bufferSize), resp: resp}
	if r.whole {
		held := newHeldBack(resp.Body, r.req.Digest, max(r.stop-r.pos, -1))
		if err := held.skip(r.file, r.pos); err != nil {
			return nil, err
		}
		d.src, d.left = held, -1
	}
	return d, nil
}

func (d *detachedBody) next() (pullchain.Section, error) {
	for len(d.full) == 0 {
		if d.left == 0 {
			return pullchain.Section{}, io.EOF
		}
		p := d.buf
		if d.left > 0 {
			p = p[:min(d.left, int64(len(p)))]
		}
		n, err := d.src.Read(p)
		if n == 0 && err != nil {
			return pullchain.Section{}, d.end(err)
		}
		if d.full = p[:n]; d.left > 0 {
			d.left -= int64(n)
		}
	}
	return pullchain.Section{Content: bytes.NewReader(d.full), Size: int64(len(d.full))}, nil
}

// end says what the end of the body means.
func (d *detachedBody) end(err error) error {
	switch {
	case err == io.EOF && d.left < 0:
		return io.EOF
	case err == io.EOF:
		return &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeTruncated, Err: io.ErrUnexpectedEOF}
	}
	return asError(err)
}

func (d *detachedBody) sent(n int64) { d.full = d.full[n:] }

// Attempts returns those behind the bytes that come now.
func (d *detachedBody) Attempts() []pullchain.Attempt {
	return d.resp.Trace()
}
