package front

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/traffic"
	"github.com/pullchain/pullchain/internal/wire"
)

// An exchange is one request and its answer. It belongs to one goroutine.
type exchange struct {
	h     *Handler
	door  *door
	r     *http.Request
	rec   recorder
	agent string // what the client says that it is

	registry *Registry
	form     form
	ns       string
	twice    bool   // see target
	doubt    string // see target; empty once it is settled
	req      pullchain.Request
	ranged   bool              // the client asked for a range that makes sense
	parts    []pullchain.Range // what it asked for, if that is several; see multirange

	resp     pullchain.Response  // what the chain gave; the zero value until it has
	attempts []pullchain.Attempt // of a chain that failed
	err      error               // why the answer is not what was asked for
	gone     bool                // the client went away
	taken    *statusLineWriter   // the answer, where it is written by hand
	pinged   bool                // it was the version check
	flight   *traffic.Flight     // what the journal knows of it, from flights
}

// end sends what net/http will not, once all is done for the request.
func (x *exchange) end() {
	if x.taken != nil {
		x.taken.close()
	}
	x.noteReset()
	flights.Put(x.flight)
}

// flights keeps 160 bytes of garbage out of every request. The journal forgets a Flight
// when it has ended.
var flights = sync.Pool{New: func() any { return new(traffic.Flight) }}

// newExchange begins the exchange of one request. The version header is on every
// answer, errors too: it marks an answer as a registry's, and not that of a web
// server in its place.
func newExchange(h *Handler, d *door, w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{h: h, door: d, r: r, flight: flights.Get().(*traffic.Flight)}
	*x.flight = traffic.Flight{}
	x.rec = recorder{ResponseWriter: w, pace: newPacer(w, r, h.pace), flight: x.flight}
	x.agent = header(r.Header, "User-Agent")
	x.flight.ID, x.flight.At = rand.Uint64(), time.Now()
	x.flight.Addr, x.flight.Family = h.proxies.clientAddr(r), clientFamily(x.agent)
	x.rec.setHeader("Docker-Distribution-Api-Version", "registry/2.0")
	return x
}

// client is what the client is told from others by; invalid if it is a balancer that does
// not tell which client it asks for.
func (x *exchange) client() netip.Addr {
	if x.h.proxies.contains(x.flight.Addr) {
		return netip.Addr{}
	}
	return clientKey(x.flight.Addr)
}

// id is in the log line and in error details, to find the one by the other.
func (x *exchange) id() string { return strconv.FormatUint(x.flight.ID, 36) }

// trace returns every attempt behind the answer so far.
func (x *exchange) trace() []pullchain.Attempt {
	if x.attempts != nil {
		return x.attempts
	}
	return x.resp.Trace()
}

// namespace is what OCI-Namespace says: the registry that answered, in the words
// of a client that named it by ns (distribution-spec, "Registry Proxying").
func (x *exchange) namespace() string {
	if x.form == formNS {
		return x.ns
	}
	return x.req.Registry
}

// clientGone reports whether the client no longer waits for the answer. A drain
// that ran out of time cancels the request too, with the client still there.
func (x *exchange) clientGone() bool {
	ctx := x.r.Context()
	return ctx.Err() != nil && !x.cutShort()
}

// cutShort reports whether the server's drain has given up on this request.
func (x *exchange) cutShort() bool {
	return errors.Is(context.Cause(x.r.Context()), errShutdown)
}

// wantedRanges reads Range and If-Range. What cannot be read, and a range of
// something else than the content d, is the whole, for which there is none here
// (RFC 9110 13.1.5, 14.2).
func (x *exchange) wantedRanges(d digest.Digest) []pullchain.Range {
	values := x.r.Header["Range"]
	if len(values) != 1 {
		return nil
	}
	if tag := x.r.Header.Get("If-Range"); tag != "" && tag != etag(d) {
		return nil
	}
	ranges, _ := wire.ParseRanges(values[0], maxParts)
	return ranges
}
