package upstreams

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain"
)

// roundTrip sends r, and sends it again if it was given an idle connection that
// turns out to have died: a server that restarts closes those, and nothing is
// wrong with it. Over HTTP/1.1 net/http does so itself (Request, "replayable");
// over HTTP/2 only when the server says that it has not looked at the request
// (docs/faults.md F45). All our requests are GET or HEAD.
//
// It gives up when no headers have come for so long as headers says since the request
// was written; 0 leaves that to the transport.
func roundTrip(t *http.Transport, r *http.Request, headers time.Duration) (*http.Response, error) {
	var idle atomic.Bool
	var over atomic.Bool                                // the headers are there, or their time is
	ctx, cancel := context.WithCancelCause(r.Context()) // which governs the body, and ends with the attempt's
	timer := time.AfterFunc(time.Hour, func() {
		if over.CompareAndSwap(false, true) {
			cancel(errHeaderTime)
		}
	})
	timer.Stop()
	trace := &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) { idle.Store(c.Reused) },
		WroteRequest: func(httptrace.WroteRequestInfo) {
			if headers > 0 {
				timer.Reset(headers)
			}
		},
	}
	r = r.WithContext(httptrace.WithClientTrace(ctx, trace))
	resp, err := t.RoundTrip(r)
	if err != nil && idle.Load() && died(err) && ctx.Err() == nil {
		resp, err = t.RoundTrip(r)
	}
	timer.Stop()
	switch late := !over.CompareAndSwap(false, true); {
	case late && err == nil:
		resp.Body.Close()
		return nil, errHeaderTime
	case late:
		return nil, errHeaderTime
	case err != nil:
		cancel(nil)
	}
	return resp, err
}

// errHeaderTime is what net/http says when it is its own timer that fires.
var errHeaderTime error = headerTime{}

type headerTime struct{}

func (headerTime) Error() string   { return "timeout awaiting response headers" }
func (headerTime) Timeout() bool   { return true }
func (headerTime) Temporary() bool { return true }

// died reports whether err is the end of a connection, and not of one stream. HTTP/2's
// "client connection lost" is what its pings find out (golang.org/x/net/http2,
// SendPingTimeout).
func died(err error) bool {
	return classifyTransport(err, false).Code == pullchain.CodeConnReset ||
		strings.Contains(err.Error(), "client connection lost")
}
