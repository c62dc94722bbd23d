package balancer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// ask makes one attempt at l and makes sure that the answer fits the question.
// Manifests have been read and verified by the upstream; of a blob only the headers
// are known here, and its bytes are checked where they are read.
func (b *Balancer) ask(ctx context.Context, l *Lane, req pullchain.Request) (pullchain.Response, error) {
	l.load.hearing.ask()
	resp, err := l.up.Fetch(ctx, req)
	l.load.hearing.over(err)
	if err != nil {
		return pullchain.Response{}, l.ownError(err)
	}
	if req.Op != pullchain.Blob {
		return resp, nil
	}
	if !req.Head && !req.Range.Whole() {
		l.learnRange(resp.Status == http.StatusPartialContent)
	}
	valid, err := b.validate(req, resp)
	if err != nil {
		resp.Body.Close()
		return pullchain.Response{}, l.ownError(err)
	}
	valid.Unproved = l.verifiesWhole(time.Now())
	return valid, nil
}

// wholeAfterCorruption is how long a lane that has sent wrong bytes is served whole:
// Docker over containerd does not try again by itself (docs/protocol.md 6).
const wholeAfterCorruption = 24 * time.Hour

// verifiesWhole reports whether the lane's blobs are to be proved before they are shown.
func (l *Lane) verifiesWhole(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cfg.VerifyWhole || !l.gates.corrupted.IsZero() && now.Sub(l.gates.corrupted) < wholeAfterCorruption
}

// ownError completes an error with the lane's name. The "not found" of a lane that
// is not authoritative is not final.
func (l *Lane) ownError(err error) error {
	e, ok := errorsAs(err)
	if !ok {
		return err
	}
	own := *e
	own.Upstream = l.Name()
	own.Final = e.Final && l.cfg.Authoritative
	return &own
}

// learnRange remembers whether the lane does ranges: one that does not serves
// whole blobs as well as any, but comes last where a part is wanted (F46).
func (l *Lane) learnRange(honoured bool) {
	defer l.changed()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gates.ignoresRange = !honoured
}

// validate checks a blob's answer against what is known of the blob, and cuts the
// range that was asked for out of an answer that ignored it. A caller that verifies
// the blob itself gets such an answer as it is; to a speculative request it is no
// use.
func (b *Balancer) validate(req pullchain.Request, resp pullchain.Response) (pullchain.Response, error) {
	if known, ok := b.known.size(req); ok {
		if resp.Size >= 0 && resp.Size != known {
			return resp, sizeConflict("%d bytes, its manifest says %d", resp.Size, known)
		}
		resp.Size = known
	}
	switch {
	case req.Head || req.Range.Whole() || resp.Status == http.StatusPartialContent:
		return resp, nil
	case req.Options.Speculative:
		return resp, &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeWrongRange, Reach: pullchain.ReachRequest, Err: errIgnored}
	case req.Options.Unverified:
		return resp, nil
	}
	return cutOut(req.Range, resp)
}

var errIgnored = errors.New("it ignored the range")

// skipMax is how much of a blob is read and thrown away to get to a range that
// the lane did not honour. Beyond it another lane is cheaper (docs/faults.md F46).
const skipMax = 32 << 20

// cutOut turns a whole body into the range that was asked for.
func cutOut(want pullchain.Range, resp pullchain.Response) (pullchain.Response, error) {
	if resp.Size < 0 {
		return resp, mismatch(pullchain.CodeWrongRange, "%w, and the size is not known", errIgnored)
	}
	got, ok := wire.ResolveRange(want, resp.Size)
	if !ok {
		return resp, &pullchain.Error{Reason: pullchain.Invalid, Code: pullchain.CodeWrongRange, Status: http.StatusRequestedRangeNotSatisfiable, Size: resp.Size}
	}
	if got.From > skipMax {
		return resp, mismatch(pullchain.CodeWrongRange, "it ignored a range that begins at %d", got.From)
	}
	resp.Status, resp.Range = http.StatusPartialContent, got
	resp.Body = &cut{Body: resp.Body, skip: got.From, left: got.To - got.From}
	return resp, nil
}

// A cut reads a part of a body that has more.
type cut struct {
	pullchain.Body
	skip, left int64
}

// Sections returns none: the body's own are of the whole.
func (c *cut) Sections() pullchain.Sections { return nil }

// Read skips to the part with the first call: the answer's headers must not wait for
// megabytes that are thrown away.
func (c *cut) Read(p []byte) (int, error) {
	for c.skip > 0 {
		n, err := io.CopyN(io.Discard, c.Body, c.skip)
		c.skip -= n
		if err != nil {
			return 0, unexpected(err)
		}
	}
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err := c.Body.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if err == io.EOF && c.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// wholeMax is up to what size a blob is read and verified before it is answered
// at all: image configurations and small layers. Wrong bytes then cost the client
// nothing: another lane is asked before it has got an answer.
const wholeMax = 256 << 10

// unexpected is what it means that a body ended early. A chunked body that is cut by a
// relay may end as if it were whole (docs/faults.md F18); the known size tells.
func unexpected(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeTruncated, Err: io.ErrUnexpectedEOF}
	}
	return err
}

// sizeConflict is a size that is not what a manifest or another lane says it is:
// which of them is wrong is not known, so no lane is quarantined.
func sizeConflict(format string, args ...any) error {
	return &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeWrongSize, Reach: pullchain.ReachRequest, Err: fmt.Errorf(format, args...)}
}

// mismatch is bytes, or a description of them, that are not those asked for.
func mismatch(code pullchain.Code, format string, args ...any) error {
	return &pullchain.Error{Reason: pullchain.Corrupt, Code: code, Err: fmt.Errorf(format, args...)}
}
