package upstreams

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
)

var errStalled = errors.New("no byte arrived in time")

// stream returns resp's body with a guard against stalls, which net/http does
// not have (docs/faults.md 11.7). Closing it ends the attempt.
func (a *attempt) stream(resp *http.Response) *body {
	b := &body{a: a, rc: resp.Body, left: resp.ContentLength}
	b.timer = time.AfterFunc(a.u.limits.stall, func() { a.cancel(errStalled) })
	b.timer.Stop()
	return b
}

// A body is what an upstream sends. Its errors say what went wrong: a stall, a
// cut, a reset, or the end of the request's own context.
type body struct {
	a     *attempt
	rc    io.ReadCloser
	timer *time.Timer // runs only while Read waits for the upstream
	left  int64       // bytes to come; less than 0 if the upstream did not say
	over  bool        // it has ended, well or not
}

// Read times only the wait for the upstream. A client that reads slowly is no stall
// (docs/faults.md F21).
func (b *body) Read(p []byte) (int, error) {
	bounded := b.a.req.Op == pullchain.Blob
	if bounded {
		p = b.a.u.bounds.piece(p)
	}
	b.timer.Reset(b.a.u.limits.stall)
	n, err := b.rc.Read(p)
	b.timer.Stop()
	if bounded && !b.a.u.bounds.pay(b.a.ctx, n) {
		return 0, b.explain(context.Cause(b.a.ctx))
	}
	b.left -= int64(n)
	b.over = err != nil
	switch err {
	case nil:
		return n, nil
	case io.EOF:
		noteBlobCame(b.a)
		return n, io.EOF
	}
	failed := b.explain(err)
	if e, ok := errors.AsType[*pullchain.Error](failed); ok {
		noteBlobFailed(b.a, e)
	}
	return n, failed
}

// maxRemaining is how much of a body that is closed early is read all the same: over
// HTTP/1.1 the connection is lost otherwise, and a new one costs more.
const maxRemaining = 64 << 10

// Close ends the attempt. Where the length is not known, all that may be left
// and be worth reading is the mark of the end: net/http reuses a connection only if
// the body has been read up to its io.EOF.
func (b *body) Close() error {
	defer b.a.cancel(nil)
	b.timer.Stop()
	if b.over || b.left > maxRemaining {
		return b.rc.Close()
	}
	drain(b.rc, max(b.left, 1))
	return nil
}

// explain says why a body failed. What net/http says of a context that has ended is
// the context's own error; the cause tells which of the reasons it was.
func (b *body) explain(err error) error {
	name := b.a.u.cfg.Name
	// A line that is cut or silent is so for all of its kind: blobs come over other
	// connections than manifests, and often from another host.
	const class = pullchain.ReachClass
	switch cause := context.Cause(b.a.ctx); {
	case errors.Is(cause, errStalled):
		return &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeStall, Reach: class, Upstream: name,
			Err: fmt.Errorf("%w: %v", errStalled, b.a.u.limits.stall)}
	case errors.Is(cause, context.DeadlineExceeded): // the caller's time is spent: slow, and not gone
		return &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeHeaderTimeout, Reach: class, Upstream: name, Err: cause}
	case cause != nil:
		return &pullchain.Error{Reason: pullchain.Canceled, Code: pullchain.CodeCanceled, Reach: pullchain.ReachRequest, Upstream: name, Err: cause}
	case errors.Is(err, io.ErrUnexpectedEOF): // less than Content-Length, or no last chunk
		return &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeTruncated, Reach: class, Upstream: name, Err: err}
	}
	e := classifyTransport(err, b.a.offOrigin)
	b.a.u.h2.observe(e)
	e.Upstream = name
	return e
}

// maxInflation bounds what an encoded body may grow to: a small answer must not
// become an endless one (docs/faults.md F47). Layers hardly shrink at all, for they are
// compressed already; deflate itself could reach a thousandfold.
const maxInflation = 200

func encoding(resp *http.Response) string {
	return strings.ToLower(strings.Join(resp.Header.Values("Content-Encoding"), ","))
}

// saysGzip reports whether gzip is among the encodings that resp names.
func saysGzip(resp *http.Response) bool {
	for name := range strings.SplitSeq(encoding(resp), ",") {
		if name = strings.TrimSpace(name); name == "gzip" || name == "x-gzip" {
			return true
		}
	}
	return false
}

// isGzip reports whether content begins as gzip does (RFC 1952 2.3.1).
func isGzip(content []byte) bool { return bytes.HasPrefix(content, []byte{0x1f, 0x8b}) }

// unpacked returns content as it came if that is right, else what it holds if it is
// gzip's, whatever its label says (docs/faults.md 0.1). What is right neither way is
// returned as it came.
func unpacked(content []byte, limit int64, right func([]byte) bool) ([]byte, error) {
	if right(content) || !isGzip(content) {
		return content, nil
	}
	in := &counted{r: bytes.NewReader(content)}
	zr, err := gzip.NewReader(in)
	if err != nil {
		return content, nil
	}
	inside, err := io.ReadAll(io.LimitReader(&inflated{zr: zr, in: in}, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(inside)) > limit:
		return nil, odd(pullchain.CodeEncoded, "inflates to more than %d bytes", limit)
	case !right(inside):
		return content, nil
	}
	return inside, nil
}

// plain returns the content of resp, and its size if that is known. Which bytes are
// right, those that came or what they hold, only the digest at their end can tell: so
// the label is a hint, and the length that the manifest gives, and the first bytes, are
// more than that. A layer is gzip itself, as a rule, and some storage labels it so.
// What is encoded in a way that we do not know goes as it came: aws-chunked is what S3
// keeps of an upload, and says nothing of the bytes.
func (a *attempt) plain(resp *http.Response) (io.ReadCloser, int64, error) {
	rc := a.stream(resp)
	if !saysGzip(resp) || a.req.Size > 0 && resp.ContentLength == a.req.Size {
		return rc, resp.ContentLength, nil
	}
	begin := make([]byte, 2)
	n, err := io.ReadFull(rc, begin)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		rc.Close()
		return nil, 0, err
	}
	again := io.MultiReader(bytes.NewReader(begin[:n]), rc)
	if !isGzip(begin[:n]) {
		return &joined{again, rc}, resp.ContentLength, nil
	}
	in := &counted{r: again}
	zr, err := gzip.NewReader(in)
	if err != nil {
		rc.Close()
		if _, ok := errors.AsType[*pullchain.Error](err); ok {
			return nil, 0, err
		}
		return nil, 0, odd(pullchain.CodeEncoded, "labelled gzip, but: %w", err)
	}
	return &inflated{zr: zr, in: in, closer: rc}, -1, nil // the length was that of the encoded body
}

// joined reads what was read ahead and then the rest.
type joined struct {
	io.Reader
	io.Closer
}

// counted is a reader that knows how much it has read.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// inflated reads what an encoded body holds, within maxInflation. It is measured
// against the encoded bytes read so far, since the length may not be known; the first
// kilobyte is free, for a small body may compress very well.
type inflated struct {
	zr     *gzip.Reader
	in     *counted
	out    int64
	closer io.Closer
}

func (i *inflated) Read(p []byte) (int, error) {
	n, err := i.zr.Read(p)
	i.out += int64(n)
	if i.out > maxInflation*max(i.in.n, 1<<10) {
		return 0, odd(pullchain.CodeEncoded, "inflates more than %d times", maxInflation)
	}
	if err != nil && err != io.EOF {
		if _, ok := errors.AsType[*pullchain.Error](err); !ok {
			err = odd(pullchain.CodeEncoded, "%w", err)
		}
	}
	return n, err
}

// Close ends the attempt; gzip itself has nothing to let go of.
func (i *inflated) Close() error { return i.closer.Close() }
