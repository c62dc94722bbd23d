package cache

import (
	"context"
	"io"
	"net/http"
	"os"

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

// A lonely reader goes on by itself where its fill lost the disk in the middle of
// the blob. Its bytes pass through a pipe, so that who sends files can send them.
type lonely struct {
	body io.ReadCloser
	src  io.Reader // of body: what may be sent
	left int64     // of a part; -1 for a whole, whose digest tells its end
	r, w *os.File
	full int64 // bytes in the pipe
	tell tracedBody
	own  []pullchain.Attempt
}

// pipeChunk is what goes through the pipe at once: every system's pipes hold it
// without anybody reading (pipe(7): PIPE_BUF).
const pipeChunk = 4096

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
	l, err := r.lonely(resp)
	if err != nil {
		resp.Body.Close()
		return asError(err)
	}
	r.alone = l
	return nil
}

func (r *reader) lonely(resp pullchain.Response) (*lonely, error) {
	begins := int64(0)
	if resp.Status == http.StatusPartialContent {
		begins = resp.Range.From
	}
	if begins != r.pos || r.size >= 0 && resp.Size >= 0 && resp.Size != r.size {
		return nil, mismatch("the rest of %d bytes from %d is answered with %d bytes from %d", r.size, r.pos, resp.Size, begins)
	}
	l := &lonely{body: resp.Body, src: resp.Body, left: r.stop - r.pos, own: resp.Attempts}
	l.tell, _ = resp.Body.(tracedBody)
	if r.whole {
		held := newHeldBack(resp.Body, r.req.Digest, max(r.stop-r.pos, -1))
		if err := held.skip(r.file, r.pos); err != nil {
			return nil, err
		}
		l.src, l.left = held, -1
	}
	var err error
	l.r, l.w, err = os.Pipe()
	return l, err
}

func (l *lonely) ready() (int64, error) {
	for l.full == 0 {
		if l.left == 0 {
			return 0, io.EOF
		}
		var buf [pipeChunk]byte
		p := buf[:]
		if l.left > 0 {
			p = p[:min(l.left, pipeChunk)]
		}
		n, err := l.src.Read(p)
		if n == 0 && err != nil {
			return 0, l.end(err)
		}
		if _, err := l.w.Write(p[:n]); err != nil {
			return 0, asError(err)
		}
		if l.full = int64(n); l.left > 0 {
			l.left -= int64(n)
		}
	}
	return l.full, nil
}

// end says what the end of the body means.
func (l *lonely) end(err error) error {
	switch {
	case err == io.EOF && l.left < 0:
		return io.EOF
	case err == io.EOF:
		return &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeTruncated, Err: io.ErrUnexpectedEOF}
	}
	return asError(err)
}

func (l *lonely) file() *os.File { return l.r }

func (l *lonely) sent(n int64) { l.full -= n }

func (l *lonely) attempts() []pullchain.Attempt {
	if l.tell != nil {
		return l.tell.Attempts()
	}
	return l.own
}

func (l *lonely) close() {
	l.body.Close()
	l.r.Close()
	l.w.Close()
}
