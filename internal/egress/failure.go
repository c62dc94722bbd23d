package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/pullchain/pullchain"
)

// ProxyFailure tells whether err, from a transport's RoundTrip, is the fault of
// the egress and not of the target: its proxy cannot be reached, does not speak
// the protocol, or refuses our login (docs/faults.md F42, F43). The code is then
// egress_proxy or egress_auth.
//
// What a proxy reports about the target is not the egress's fault; ok is then
// false, and code says what was reported if that is known: conn_refused,
// conn_timeout, conn_reset or http_unexpected. It is empty for all else.
//
// The line is drawn with care for the cost of being wrong. The egress breaker
// is shared: to blame the egress for one dead target takes every upstream away
// that dials through it, while to blame targets for a sick proxy only costs
// each lane its own trip.
func ProxyFailure(err error) (code pullchain.Code, ok bool) {
	if errors.Is(err, context.Canceled) {
		return "", false
	}
	if e, found := errors.AsType[*sourceError](err); found {
		return e.classify()
	}
	if e, found := errors.AsType[*connectError](err); found {
		return e.classify()
	}
	if e, found := errors.AsType[*handshakeError](err); found {
		return e.classify()
	}
	op, found := errors.AsType[*net.OpError](err)
	switch {
	case found && op.Op == "proxyconnect":
		return pullchain.CodeEgressProxy, true
	case found && op.Op == "socks connect":
		return socksVerdict(op.Err.Error())
	}
	return "", false
}

// A handshakeError is a connection to a proxy that failed before the way to
// the target was free.
type handshakeError struct {
	proxy string
	socks bool
	heard bool // the proxy had said something before
	login bool // it had asked for the login and said no more
	err   error
}

func (e *handshakeError) Error() string {
	if e.heard {
		return fmt.Sprintf("proxy %s broke off its handshake: %v", e.proxy, e.err)
	}
	return fmt.Sprintf("proxy %s did not answer: %v", e.proxy, e.err)
}

func (e *handshakeError) Unwrap() error { return e.err }

// classify: a proxy that hangs up without a word is sick, and so is a SOCKS
// proxy that stays silent, for its greeting comes before any dialling. A CONNECT
// proxy speaks only after it has reached the target, so its silence may well be
// the target's; and so may the silence of a SOCKS proxy that has let us in.
func (e *handshakeError) classify() (pullchain.Code, bool) {
	timeout := isTimeout(e.err)
	switch {
	case errors.Is(e.err, errNoLogin), e.login && !timeout:
		return pullchain.CodeEgressAuth, true
	case errors.Is(e.err, errNotHTTP), e.login, !e.heard && (e.socks || !timeout):
		return pullchain.CodeEgressProxy, true
	case timeout:
		return pullchain.CodeConnTimeout, false
	}
	return pullchain.CodeConnReset, false
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// A connectError is an answer to CONNECT that is not 200.
type connectError struct {
	proxy  string
	target string
	status int
}

func (e *connectError) Error() string {
	return fmt.Sprintf("proxy %s answered CONNECT %s with HTTP %d", e.proxy, e.target, e.status)
}

// classify: 407 is our login. 500, 502, 503, 504 and Cloudflare's 52x are how
// proxies say that they could not reach the target: squid 503 for refused and
// for DNS, 504 for time-outs; tinyproxy 500; most others 502. 403 and 404 are
// about this target as well: an access list, a name that is not known. The rest
// (400, 405, 501, a portal's 302, 429) means that this is no proxy for us.
func (e *connectError) classify() (pullchain.Code, bool) {
	switch {
	case e.status == http.StatusProxyAuthRequired, e.status == http.StatusUnauthorized:
		return pullchain.CodeEgressAuth, true
	case e.status == http.StatusGatewayTimeout:
		return pullchain.CodeConnTimeout, false
	case e.status == http.StatusForbidden, e.status == http.StatusNotFound:
		return pullchain.CodeUnexpected, false
	case e.status >= 500 && e.status != http.StatusNotImplemented && e.status != http.StatusHTTPVersionNotSupported:
		return pullchain.CodeConnRefused, false
	}
	return pullchain.CodeEgressProxy, true
}

// onConnect is for http.Transport.OnProxyConnectResponse.
func onConnect(_ context.Context, proxy *url.URL, req *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return &connectError{proxy: proxy.Host, target: req.Host, status: resp.StatusCode}
}

// socksVerdict reads the text of an error of net/http's SOCKS client, which
// has no types for them (socks_bundle.go, go1.26.8). What the server says of
// the target begins with "unknown error ".
func socksVerdict(text string) (pullchain.Code, bool) {
	reply, replied := strings.CutPrefix(text, "unknown error ")
	switch {
	case replied && (reply == "host unreachable" || reply == "network unreachable" || reply == "TTL expired"):
		return pullchain.CodeConnTimeout, false
	case replied && reply == "connection refused":
		return pullchain.CodeConnRefused, false
	case replied && (reply == "general SOCKS server failure" || reply == "connection not allowed by ruleset"):
		return pullchain.CodeUnexpected, false
	case strings.Contains(text, "authentication") || text == "invalid username/password" || text == "invalid username/password version":
		return pullchain.CodeEgressAuth, true
	}
	return pullchain.CodeEgressProxy, true
}
