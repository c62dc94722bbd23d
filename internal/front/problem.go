package front

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

const (
	// codeRangeInvalid is distribution's word for a 416 (errcode/register.go).
	codeRangeInvalid wire.ErrorCode = "RANGE_INVALID"

	// statusClientGone is what the log says of a request whose client left; it
	// is nginx's number, and is never sent.
	statusClientGone = 499

	// defaultRetryAfter is what a client is told to wait when no upstream said:
	// a few probes' time.
	defaultRetryAfter = 5 * time.Second
)

// errShutdown is the cause of the cancellation when a drain has run out of time.
var errShutdown = errors.New("pullchain is shutting down")

// A problem is an error answer.
type problem struct {
	status     int
	code       wire.ErrorCode
	message    string        // safe to show, a sentence to act on
	statusText string        // the short of it, for the status line; empty: the standard one
	retryAfter time.Duration // 0: none
	login      bool          // a login would help: the answer has a challenge
	detail     any
}

// refuse sends an error answer that involved no upstream.
func (x *exchange) refuse(p problem) {
	if x.err == nil {
		x.err = errors.New(p.message)
	}
	x.send(p)
}

// send sends the answer, by hand over HTTP/1.1 where its status line has something
// to say. It is the one place that error answers go through.
func (x *exchange) send(p problem) {
	h := x.rec.Header()
	if p.retryAfter > 0 {
		// Rounded up: too early is worse than too late.
		seconds := (wire.ClampRetryAfter(p.retryAfter) + time.Second - 1) / time.Second
		h.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	if p.status == http.StatusMethodNotAllowed {
		h.Set("Allow", "GET, HEAD")
	}
	if p.login {
		h.Set("Www-Authenticate", `Basic realm="pullchain"`)
	}
	if hasBody(x.r) {
		// What is left of the body must not be read as the next request.
		h.Set("Connection", "close")
	}
	if p.detail == nil {
		p.detail = detail{RequestID: x.id()}
	}
	head := x.r.Method == http.MethodHead
	if w, ok := x.takeOver(p.statusText); ok {
		x.taken = w
		wire.WriteError(w, p.status, head, p.code, p.message, p.detail)
		return
	}
	wire.WriteError(&x.rec, p.status, head, p.code, p.message, p.detail)
}

// fail answers a Fetch that failed before anything was sent. A client that went
// away gets no answer, and the connection is aborted: a half-closed client would
// take the empty 200 that net/http makes of silence for the content.
func (x *exchange) fail(err error) {
	x.err = err
	e := errorOf(err)
	if len(e.Attempts) > 0 {
		x.attempts = once(e.Attempts)
	}
	switch {
	case x.cutShort():
		x.refuse(problem{
			status:     http.StatusServiceUnavailable,
			code:       wire.CodeUnavailable,
			message:    "pullchain is shutting down; try again",
			retryAfter: defaultRetryAfter,
		})
		return
	case x.clientGone():
		x.gone = true
		panic(http.ErrAbortHandler)
	}
	p := x.problemOf(e)
	if x.registry.passes() {
		p = clientLogin{x}.askLogin(p, e)
	}
	h := x.rec.Header()
	h.Set("OCI-Namespace", x.namespace())
	h.Set("Proxy-Status", proxyError(p.status, x.trace()))
	if p.status == http.StatusRequestedRangeNotSatisfiable && e.Size > 0 {
		// A client that resumes at the very end learns by it that it has
		// everything (docs/protocol.md 4.5, blobs).
		h.Set("Content-Range", wire.UnsatisfiedRange(e.Size))
	}
	x.send(p)
}

// errorOf returns err as what a chain should return.
func errorOf(err error) *pullchain.Error {
	if e, ok := errors.AsType[*pullchain.Error](err); ok {
		return e
	}
	return &pullchain.Error{Reason: pullchain.ReasonOf(err), Err: err}
}

// problemOf puts the last word of a chain into the client's terms.
func (x *exchange) problemOf(e *pullchain.Error) problem {
	attempts := x.trace()
	code, text := said(decisive(e, attempts))
	p, words := x.lastWords(e, code)
	var quote string
	if _, ok := keptStatus(e); ok || e.Reason == pullchain.Denied || e.Reason == pullchain.Refused {
		quote = quoted(text) + settingOf(e, text)
	} else {
		quote = quoted(clip(verdictAmong(attempts), maxMessage/2))
	}
	p.message = x.message(words, quote, e, attempts, code)
	if p.status >= http.StatusInternalServerError {
		p.statusText = shortMessage(words, quote, e, attempts)
	}
	p.detail = newDetail(x.id(), x.req.Image(), attempts)
	return p
}

// lastWords is the status and the code of an error answer, and what happened in a
// few words. code is the registry's own, if it gave one. What each makes the clients do
// is in docs/protocol.md 4.3 and 6: a 429 makes containerd ask five times at once, and
// TOOMANYREQUESTS and DENIED make the Docker engine give up, so those are kept for
// when they are true.
func (x *exchange) lastWords(e *pullchain.Error, code wire.ErrorCode) (p problem, words string) {
	p = problem{status: e.Reason.HTTPStatus(), code: wire.CodeUnavailable}
	if x.isAbsentEndpoint(e) {
		// Not NAME_UNKNOWN, which says that there is no such repository: on that oras
		// does not go to the tag. It is for the registry to say.
		return problem{status: http.StatusNotFound, code: cmp.Or(code, wire.CodeUnsupported)}, "no list of referrers"
	}
	if own, ok := keptStatus(e); ok {
		return x.keptWords(e.Status, cmp.Or(code, own, unknownCode(x.req.Op)))
	}
	switch e.Reason {
	case pullchain.NotFound:
		p.code, words = unknownCode(x.req.Op), "not found"
	case pullchain.Denied:
		// An upstream's 401 is a 403 here. A 401 has to say by WWW-Authenticate how
		// to log in (RFC 9110 15.5.2), and no client can log in here: of the upstream's
		// own challenge the client could make nothing but a way around us. What the
		// upstream said stands in the message as http_401. The clients do the same on
		// either: docker gives up on DENIED as on UNAUTHORIZED, podman goes to its next
		// mirror, and so does containerd, after one GET more (docs/protocol.md 4.3 and 6).
		p.code, words = wire.CodeDenied, "access denied"
		switch {
		case e.Code == pullchain.CodePolicy: // which no upstream has, and no login helps
			words = "refused"
		case !speaksOfAccess(e, code):
			p.code, words = cmp.Or(code, wire.CodeDenied), "the upstream refuses it"
		}
	case pullchain.Corrupt, pullchain.Refused:
		p.code, words = wire.CodeUnknown, "no upstream gave a usable answer"
		if e.Code == pullchain.CodeTooLarge { // docs/faults.md F25
			words = x.req.Op.String() + " exceeds what pullchain takes"
		}
	case pullchain.Invalid:
		p.code, words = invalidCode(x.req.Op), "the request cannot be right"
	default: // Unavailable, Limited, Egress; Canceled by something other than the client
		p.status, words = http.StatusServiceUnavailable, "no upstream could answer"
		p.retryAfter = retryAfter(e)
		switch {
		case e.Reason == pullchain.Limited && e.Status == http.StatusTooManyRequests && reallyLimited(e.Attempts):
			p.status, p.code, words = e.Status, wire.CodeTooManyRequests, "every upstream is rate limited"
		case e.Code == pullchain.CodeLoop:
			p.status, p.retryAfter = http.StatusLoopDetected, 0
		case budgetSpent(e):
			p.status, p.retryAfter, words = http.StatusGatewayTimeout, 0, "no upstream answered in time"
		}
	}
	return p, words
}

// keptWords is lastWords for a status that is told as it is.
func (x *exchange) keptWords(status int, code wire.ErrorCode) (p problem, words string) {
	words = "the upstream refuses it"
	switch status {
	case http.StatusGone:
		words = "gone"
	case http.StatusRequestedRangeNotSatisfiable:
		code, words = codeRangeInvalid, "the range is beyond the end"
	case http.StatusUnavailableForLegalReasons:
		words = "unavailable for legal reasons"
	}
	return problem{status: status, code: code}, words
}

// budgetSpent reports whether the time for a first byte ran out before the
// upstreams did: the balancer says so by this status. An upstream's own 504 is a
// server error like any other.
func budgetSpent(e *pullchain.Error) bool {
	return e.Status == http.StatusGatewayTimeout && e.Code == pullchain.CodeHeaderTimeout
}

// retryAfter is when to come back: when the chain says, else when the first
// upstream does.
func retryAfter(e *pullchain.Error) time.Duration {
	if e.RetryAfter > 0 {
		return e.RetryAfter
	}
	var first time.Duration
	for _, a := range e.Attempts {
		if d := waitOf(a); d > 0 && (first == 0 || d < first) {
			first = d
		}
	}
	if first == 0 {
		return defaultRetryAfter
	}
	return first
}

// unknownCode is the OCI code of a 404: clients and scripts tell a missing image
// from a missing layer by it.
func unknownCode(op pullchain.Op) wire.ErrorCode {
	switch op {
	case pullchain.Manifest:
		return wire.CodeManifestUnknown
	case pullchain.Blob:
		return wire.CodeBlobUnknown
	}
	return wire.CodeNameUnknown
}

// invalidCode is the OCI code of a request that the chain calls invalid.
func invalidCode(op pullchain.Op) wire.ErrorCode {
	switch op {
	case pullchain.Manifest:
		return wire.CodeManifestInvalid
	case pullchain.Blob:
		return wire.CodeDigestInvalid
	}
	return wire.CodeNameInvalid
}
