package upstreams

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/wire"
)

// An answer is what classifyStatus judges by: all there is of it, no I/O.
type answer struct {
	status    int
	header    http.Header
	body      []byte // at most 64 KiB of it
	offOrigin bool   // it came from where a redirect led
	blob      bool
	now       time.Time // zero: time.Now
}

// classifyStatus says what an answer of 300 or more means. It is the one place
// where a status becomes a Reason (docs/faults.md 7). The order of the cases matters: the
// more an answer says of itself, the earlier it is looked at, so that a Worker that
// has spent its quota is not taken for a server error, nor an expired link of a CDN
// for a registry that denies.
func classifyStatus(a answer) *pullchain.Error {
	if a.now.IsZero() {
		a.now = time.Now()
	}
	e := &pullchain.Error{
		Status:     a.status,
		RetryAfter: wire.ClampRetryAfter(wire.ParseRetryAfter(a.header.Get("Retry-After"), a.now)),
		Quota:      wire.ParseQuota(a.header, a.now),
	}
	if code, message := wire.ParseError(a.body); message != "" || code != "" {
		e.Err = fmt.Errorf("%s %q", cmp.Or(string(code), "it says"), message)
	}
	switch {
	case workerQuotaSpent(a):
		e.Reason, e.Code, e.Reach = pullchain.Limited, pullchain.CodeWorkerQuota, pullchain.ReachLane
		e.RetryAfter = untilMidnightUTC(a.now)
	case a.status == http.StatusTooManyRequests:
		classifyLimit(a, e)
	case a.status == http.StatusServiceUnavailable && e.RetryAfter > 0: // it is well enough to ask for a pause
		e.Reason, e.Code = pullchain.Limited, pullchain.CodeServerError
	case a.offOrigin && (a.status == 400 || a.status == 401 || a.status == 403):
		e.Reason, e.Code = pullchain.Unavailable, pullchain.CodeSignedURL // S3 says 400 or 403 of an expired link
	case a.status == http.StatusNotFound || a.status == http.StatusGone:
		e.Reason, e.Code = pullchain.NotFound, pullchain.CodeNotFound
		e.Final = !isHTML(a) // a parked host's 404 page says nothing of the registry
	case a.status == http.StatusProxyAuthRequired: // of a proxy that forwards plain http (egress.NewTransport)
		e.Reason, e.Code, e.Reach = pullchain.Egress, pullchain.CodeEgressAuth, pullchain.ReachLane
	case a.status == http.StatusUnauthorized: // after logging in as configured: see attempt.ask
		e.Reason, e.Code = pullchain.Denied, pullchain.CodeUnauthorized
	case a.status == http.StatusRequestedRangeNotSatisfiable && a.blob:
		e.Reason, e.Code = pullchain.Invalid, pullchain.CodeWrongRange
		if got, err := wire.ParseContentRange(a.header.Get("Content-Range")); errors.Is(err, wire.ErrUnsatisfied) {
			e.Size = max(got.Total, 0)
		}
	case a.status >= 520 && a.status <= 530:
		e.Reason, e.Code, e.Reach = pullchain.Unavailable, pullchain.CodeOriginDown, reachOf(a.offOrigin)
	// Of the 4xx these three say nothing of what was asked for (RFC 9110 15.5.9, RFC 8470
	// 5.2, RFC 6585 5): another upstream may well answer.
	case a.status >= 500, a.status == http.StatusRequestTimeout, a.status == http.StatusTooEarly,
		a.status == http.StatusRequestHeaderFieldsTooLarge:
		e.Reason, e.Code = pullchain.Unavailable, pullchain.CodeServerError
	case a.status == http.StatusForbidden:
		e.Reason, e.Code = pullchain.Denied, pullchain.CodeForbidden
	case a.status >= 400: // it has looked at the request, and does not want it
		e.Reason, e.Code = pullchain.Denied, pullchain.CodeUnexpected
	default: // a redirect without a place to go, a 304 to nothing
		e.Reason, e.Code = pullchain.Unavailable, pullchain.CodeUnexpected
	}
	return e
}

// minBan is the least time to leave an upstream alone that has called us
// abusive: asking again extends the ban (docs/faults.md F09).
const minBan = time.Minute

// classifyLimit tells the kinds of 429 apart. Hub's pull quota is OCI JSON and
// speaks of manifests; its abuse limit is plain text and Cloudflare's is HTML,
// and both speak of everything; GHCR asks for milliseconds (docs/protocol.md 4.1).
// One that says nothing at all is taken for the mildest (docs/faults.md F07).
func classifyLimit(a answer, e *pullchain.Error) {
	e.Reason = pullchain.Limited
	if e.RetryAfter == 0 {
		e.RetryAfter = untilReset(a)
	}
	code, _ := wire.ParseError(a.body)
	wait := wire.RetryAfterText(string(a.body))
	if e.RetryAfter == 0 {
		e.RetryAfter = wait
	}
	switch {
	case wait > 0 && wait < time.Second && e.RetryAfter == wait:
		e.Code = pullchain.CodeThrottle
		return
	case code != "": // a registry's own JSON: a quota of what was asked for
		e.Code = pullchain.CodeQuota
	case len(a.body) == 0 && !strings.HasPrefix(a.header.Get("Content-Type"), "text/"): // a HEAD's answer has its type alone
		e.Code = pullchain.CodeThrottle
	default: // plain text or a page, from what stands before the registry
		e.Code, e.Reach = pullchain.CodeAbuse, reachOf(a.offOrigin)
		e.RetryAfter = max(e.RetryAfter, minBan)
	}
	e.RetryAfter = wire.ClampRetryAfter(e.RetryAfter)
}

// untilReset reads when the window of a quota ends, where a header names that:
// in seconds from now (draft-ietf-httpapi-ratelimit-headers) or since 1970, as
// GitLab does. Docker Hub's ratelimit-limit has the window's length alone, which
// says nothing of its end.
func untilReset(a answer) time.Duration {
	for _, name := range []string{"RateLimit-Reset", "X-RateLimit-Reset"} {
		n, err := strconv.ParseInt(a.header.Get(name), 10, 64)
		switch {
		case err != nil || n <= 0:
		case n < 1e9:
			return time.Duration(n) * time.Second
		default:
			return max(time.Unix(n, 0).Sub(a.now), 0)
		}
	}
	return 0
}

// workerQuotaSpent recognises Cloudflare's error 1027: the relay's requests of
// the day are used up, and come back at midnight UTC (docs/faults.md F10).
func workerQuotaSpent(a answer) bool {
	if a.status != http.StatusTooManyRequests && a.status < 500 {
		return false
	}
	cloudflare := a.header.Get("CF-RAY") != "" || strings.EqualFold(a.header.Get("Server"), "cloudflare")
	return cloudflare && error1027.Match(a.body)
}

// error1027 matches the number as a word of its own: every page of Cloudflare's
// has a Ray ID and an address too, which may hold the same digits.
var error1027 = regexp.MustCompile(`(?:^|[^0-9A-Za-z.:-])1027(?:[^0-9A-Za-z]|$)`)

// untilMidnightUTC is when Cloudflare's daily quotas begin anew.
func untilMidnightUTC(now time.Time) time.Duration {
	y, m, d := now.UTC().Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC).Sub(now)
}

// isHTML reports whether the answer is a web page, whatever it is labelled.
func isHTML(a answer) bool {
	return strings.HasPrefix(strings.ToLower(a.header.Get("Content-Type")), "text/html") || looksLikeHTML(a.body)
}

// reachOf says how much a failure of a host means: the upstream's own host is
// in the way of everything, a CDN only of the class it serves.
func reachOf(offOrigin bool) pullchain.Reach {
	if offOrigin {
		return pullchain.ReachClass
	}
	return pullchain.ReachLane
}

// classifyTransport says what a failure to get an answer at all means. Where net/http
// has no type for an error, only its text is left to go by: of HTTP/2 above all, whose
// errors are those of a package inside net/http. The proxy is looked at first: an
// error of its own is wrapped in the same types as one of the far end.
func classifyTransport(err error, offOrigin bool) *pullchain.Error {
	if e, ok := errors.AsType[*pullchain.Error](err); ok {
		return e
	}
	code, ok := egress.ProxyFailure(err)
	if ok {
		return &pullchain.Error{Reason: pullchain.Egress, Code: code, Reach: pullchain.ReachLane, Err: err}
	}
	e := &pullchain.Error{Reason: pullchain.Unavailable, Reach: reachOf(offOrigin), Err: err}
	text := err.Error()
	switch {
	case code != "": // the proxy works, and says what is wrong with the far end
		e.Code = code
	case isType[*net.DNSError](err): // before isDial: it is wrapped in a dial's error
		e.Code = pullchain.CodeDNS
	case isCertificateError(err):
		e.Code = pullchain.CodeTLSCert
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Code = pullchain.CodeConnRefused
	case isDial(err):
		e.Code = pullchain.CodeConnTimeout // unreachable and silent alike: no way there
	case isType[tls.RecordHeaderError](err), isType[tls.AlertError](err), strings.Contains(text, "tls: "), strings.Contains(text, "TLS handshake"):
		e.Code = pullchain.CodeTLSHandshake
	case strings.Contains(text, "ENHANCE_YOUR_CALM"): // RFC 9113 7: we make too much load, a 429 in HTTP/2's words
		e.Reason, e.Code, e.RetryAfter = pullchain.Limited, pullchain.CodeThrottle, minBan
	case strings.Contains(text, "http2: ") || strings.Contains(text, "stream error"):
		e.Code, e.Reach = pullchain.CodeHTTP2, pullchain.ReachClass
	case strings.Contains(text, "response headers exceeded"): // our limit of 64 KiB; Go's own is 10 MiB
		e.Code, e.Reach = pullchain.CodeHeaderTooLarge, pullchain.ReachClass
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err): // connected, and then no headers
		e.Code, e.Reach = pullchain.CodeHeaderTimeout, pullchain.ReachClass
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		strings.Contains(text, "connection closed"), strings.Contains(text, "server closed idle connection"):
		e.Code, e.Reach = pullchain.CodeConnReset, pullchain.ReachClass
	default:
		e.Code, e.Reach = pullchain.CodeUnexpected, pullchain.ReachClass
	}
	return e
}

func isType[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

func isCertificateError(err error) bool {
	return isType[*tls.CertificateVerificationError](err) || isType[x509.UnknownAuthorityError](err) ||
		isType[x509.HostnameError](err) || isType[x509.CertificateInvalidError](err)
}

// isDial reports whether no connection to the far end came about; a proxy's own have
// the Op "proxyconnect" or "socks connect".
func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}
