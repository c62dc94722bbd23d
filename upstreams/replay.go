package upstreams

import (
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"

	"github.com/pullchain/pullchain"
)

// roundTrip sends r, and sends it again if it was given an idle connection that
// turns out to have died: a server that restarts closes those, and nothing is
// wrong with it. Over HTTP/1.1 net/http does so itself (Request, "replayable");
// over HTTP/2 only when the server says that it has not looked at the request
// (docs/faults.md F45). All our requests are GET or HEAD.
func roundTrip(t *http.Transport, r *http.Request) (*http.Response, error) {
	var idle atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { idle.Store(c.Reused) }}
	resp, err := t.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err == nil || !idle.Load() || !died(err) || r.Context().Err() != nil {
		return resp, err
	}
	return t.RoundTrip(r)
}

// died reports whether err is the end of a connection, and not of one stream. HTTP/2's
// "client connection lost" is what its pings find out (golang.org/x/net/http2,
// SendPingTimeout).
func died(err error) bool {
	return classifyTransport(err, false).Code == pullchain.CodeConnReset ||
		strings.Contains(err.Error(), "client connection lost")
}
