package upstreams

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/openfiles"
)

// reachOf says how much it means that a host cannot be connected to: the upstream's own
// host is in the way of everything, a CDN only of the class it serves.
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
	if openfiles.Short(err) { // before a proxy is blamed, or a resolver
		return &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeNoDescriptors, Reach: pullchain.ReachRequest, Err: err}
	}
	code, ok := egress.ProxyFailure(err)
	if ok {
		return &pullchain.Error{Reason: pullchain.Egress, Code: code, Reach: pullchain.ReachLane, Err: err}
	}
	e := &pullchain.Error{Reason: pullchain.Unavailable, Reach: reachOf(offOrigin), Err: err}
	// Once it is connected to, a host is there, and the other class may be served by another.
	const class = pullchain.ReachClass
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
	case isDial(err) && errors.Is(err, syscall.ECONNRESET): // it is there, and hangs up before TCP is done
		e.Code = pullchain.CodeConnReset
	case isDial(err):
		e.Code = pullchain.CodeConnTimeout // unreachable and silent alike: no way there
	case isType[tls.RecordHeaderError](err), isType[tls.AlertError](err), strings.Contains(text, "tls: "), strings.Contains(text, "TLS handshake"):
		e.Code = pullchain.CodeTLSHandshake
	case strings.Contains(text, "ENHANCE_YOUR_CALM"): // RFC 9113 7: we make too much load, a 429 in HTTP/2's words
		e.Reason, e.Code, e.Reach, e.RetryAfter = pullchain.Limited, pullchain.CodeThrottle, class, minBan
	case strings.Contains(text, "http2: ") || strings.Contains(text, "stream error"):
		e.Code, e.Reach = pullchain.CodeHTTP2, class
	case strings.Contains(text, "response headers exceeded"): // our limit of 64 KiB; Go's own is 10 MiB
		e.Code, e.Reach = pullchain.CodeHeaderTooLarge, pullchain.ReachRequest
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err): // connected, and then no headers
		e.Code, e.Reach = pullchain.CodeHeaderTimeout, class
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		strings.Contains(text, "connection closed"), strings.Contains(text, "server closed idle connection"):
		e.Code, e.Reach = pullchain.CodeConnReset, class
	default:
		e.Code, e.Reach = pullchain.CodeUnexpected, class
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
