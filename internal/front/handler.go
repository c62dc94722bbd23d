package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/access"
	"github.com/pullchain/pullchain/internal/traffic"
	"github.com/pullchain/pullchain/internal/wire"
)

// A Handler is the data plane. Make one with [New]; it is safe for concurrent
// use.
type Handler struct {
	log      *slog.Logger
	door     *door // of [server]
	instance string
	proxies  trustedProxies
	slots    *slots
	pace     time.Duration // paceTime but in tests
	hangUp   time.Duration // hangUpTime but in tests

	inFlight atomic.Int64
	born     time.Time
	ended    atomic.Int64 // when the last request was over, in time since born; 0 before that
	routes   atomic.Pointer[Routes]
	access   atomic.Pointer[access.Access]
	journal  *traffic.Journal
	starts   starts
	cursors  cursors
	ask      func(registry string) error // nil: what no route names is not served
	guesses  *access.Guesses             // of logins that are passed on

	shortened shortened
}

// New returns a Handler that serves no registry until [Handler.SetRoutes]. The
// config has to be valid.
func New(c Config, log *slog.Logger) *Handler {
	journal := traffic.New()
	return &Handler{
		log:      log,
		door:     newDoor(c, defaultRegistry),
		instance: c.Instance,
		proxies:  trustedProxies(c.TrustedProxies),
		slots:    newSlots(c, &journal.Refusals, log),
		pace:     paceTime,
		hangUp:   hangUpTime,
		born:     time.Now(),
		journal:  journal,
		guesses:  access.NewGuesses(),
	}
}

// Ask has f asked for each registry that a client names and no route does, before the
// client is told that it is not served. f returns nil once a route does, else why none
// will. It has to be set before the Handler serves, and f be safe for concurrent use.
func (h *Handler) Ask(f func(registry string) error) { h.ask = f }

// SetRoutes swaps the registries that are served. Requests that are under way
// go on with those they began with.
func (h *Handler) SetRoutes(routes *Routes) { h.routes.Store(routes) }

// SetAccess swaps what decides which clients are served; nil serves all, as before the
// first call.
func (h *Handler) SetAccess(a *access.Access) { h.access.Store(a) }

// InFlight returns how many requests are being served.
func (h *Handler) InFlight() int { return int(h.inFlight.Load()) }

// Traffic returns the record of what clients asked for and got. It lives as long as
// the Handler does, whatever the routes.
func (h *Handler) Traffic() *traffic.Journal { return h.journal }

// Quiet waits until no request has been under way for d, or until ctx is done.
// Between two requests of one pull there is none either, so d has to be more than a
// client takes from the one to the next.
func (h *Handler) Quiet(ctx context.Context, d time.Duration) {
	look := time.NewTicker(d / 20)
	defer look.Stop()
	for h.BusyWithin(d) {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// BusyWithin reports whether a request is under way, or was within the last d.
func (h *Handler) BusyWithin(d time.Duration) bool {
	ended := time.Duration(h.ended.Load())
	return h.inFlight.Load() > 0 || ended > 0 && time.Since(h.born)-ended < d
}

// ServeHTTP answers one request of the first listener and logs one line for it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.serve(w, r, h.door) }

// serve answers one request that came through d.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, d *door) {
	if isReset(r) {
		panic(http.ErrAbortHandler)
	}
	x := newExchange(h, d, w, r)
	// In this order at the end: the line is logged, then a connection that was
	// taken over is closed. A panic of http.ErrAbortHandler passes through both.
	defer x.end()
	defer x.log()

	h.inFlight.Add(1)
	defer func() {
		h.ended.Store(int64(time.Since(h.born)))
		h.inFlight.Add(-1)
	}()
	client := x.client()
	if refused, ok := h.slots.enter(client, x.flight.At); !ok {
		x.refuse(noSlot(refused))
		return
	}
	defer h.slots.leave(client)
	if p, ok := h.admit(r, d); !ok {
		x.refuse(p)
		return
	}
	if refused := h.access.Load().Check(access.Client{Addr: x.flight.Addr, Key: client}, r); refused != nil {
		x.refuse(noAccess(refused))
		return
	}
	x.serve()
}

// noAccess answers a client that is not to be served.
func noAccess(r *access.Refusal) problem {
	p := problem{status: r.Status, code: wire.CodeDenied, message: r.Message, retryAfter: r.RetryAfter, login: r.Login}
	switch r.Status {
	case http.StatusUnauthorized:
		p.code = wire.CodeUnauthorized
	case http.StatusTooManyRequests:
		p.code = wire.CodeTooManyRequests
	}
	return p
}

// noSlot answers a request beyond what is served at once. It is 503 and not 429, at which
// containerd asks five times without a pause (docs/protocol.md 4.3).
func noSlot(r traffic.Refusal) problem {
	p := problem{
		status:     http.StatusServiceUnavailable,
		code:       wire.CodeUnavailable,
		message:    "pullchain is serving as many requests as it may (max_in_flight); try again",
		retryAfter: time.Second,
	}
	if r.Why == traffic.ClientHasMany {
		p.retryAfter = defaultRetryAfter // it is served next by its own doing
		p.message = fmt.Sprintf("%d of the %d requests that pullchain serves at once are this client's, and what is left is kept for others (reserve_in_flight); try again", r.Held, r.Max)
	}
	return p
}

// admit checks what has nothing to do with the registry asked for: which clients
// may talk to us, and how.
func (h *Handler) admit(r *http.Request, d *door) (problem, bool) {
	if !d.hosts.allows(r.Host, h.routes.Load()) {
		return problem{
			status:  http.StatusForbidden,
			code:    wire.CodeDenied,
			message: "the name " + wire.Clip(r.Host) + ` is not one of pullchain's; add it to allowed_hosts under [server]`,
		}, false
	}
	// Only browsers send this header. A page of another site could not read the
	// answer, but it could spend the pull quota (Fetch Metadata, W3C).
	if site := header(r.Header, "Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		return problem{
			status:  http.StatusForbidden,
			code:    wire.CodeDenied,
			message: "pullchain does not answer requests that another web site makes",
		}, false
	}
	if h.isTokenCall(r) { // which looks at these itself
		return problem{}, true
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return problem{
			status:  http.StatusMethodNotAllowed,
			code:    wire.CodeUnsupported,
			message: "pullchain is for pulls only; push to the registry itself",
		}, false
	}
	// No client of ours sends one. A request with a body may hide a second one in it
	// (docs/faults.md 6, smuggling).
	if hasBody(r) {
		return problem{
			status:  http.StatusBadRequest,
			code:    wire.CodeUnsupported,
			message: "a " + r.Method + " request has no body",
		}, false
	}
	return problem{}, true
}

// hasBody reports whether a request declares a body, of known length or not.
func hasBody(r *http.Request) bool {
	return r.ContentLength != 0 || len(r.TransferEncoding) > 0
}

// serve finds out what is asked for and answers it.
func (x *exchange) serve() {
	if x.h.isTokenCall(x.r) {
		clientLogin{x}.giveToken()
		return
	}
	switch x.r.URL.Path {
	case "/":
		visit{x}.answer()
		return
	case searchPath:
		search{x}.answer()
		return
	}
	where, err := x.resolve()
	x.form, x.ns = where.form, where.ns
	x.twice, x.doubt = where.twice, where.doubt
	if err != nil {
		x.refuse(notFound(err))
		return
	}
	asked, err := wire.Parse(where.path, x.r.URL.RawQuery)
	if err != nil {
		x.refuse(badPath(err))
		return
	}
	switch asked.Kind {
	case wire.Ping:
		if !(clientLogin{x}).mayPing(where) {
			return
		}
		x.pong()
	case wire.Catalog:
		x.refuse(problem{
			status:  http.StatusNotFound,
			code:    wire.CodeUnsupported,
			message: "pullchain has no list of repositories",
		})
	case wire.Read:
		x.registry = where.registry
		if x.registry.passes() && !(clientLogin{x}).identify() {
			return
		}
		x.req = x.request(asked.Req)
		if hops := wire.ParseVia(x.r.Header[wire.ViaHeader]); hops != nil {
			if wire.LeadsBack(hops, x.h.instance) {
				x.refuse(loop(hops, x.h.instance))
				return
			}
			x.req.Options.Via = strings.Join(hops, ", ")
		}
		x.begin()
		x.read()
	}
}

// resolve finds the registry. One that no route names may be about to have one.
func (x *exchange) resolve() (target, error) {
	find := func() (target, error) {
		return x.h.routes.Load().resolve(x.r.Host, x.r.URL.EscapedPath(), x.r.URL.RawQuery, x.door.registry)
	}
	where, err := find()
	unknown, ok := errors.AsType[unknownRegistry](err)
	if !ok || x.h.ask == nil {
		return where, err
	}
	if unknown.why = x.h.ask(unknown.name); unknown.why != nil {
		return where, unknown
	}
	return find()
}

// request completes what the path said with what the headers say.
func (x *exchange) request(req pullchain.Request) pullchain.Request {
	req.Registry, req.Bearer = x.registry.Name, x.req.Bearer
	req.Head = x.r.Method == http.MethodHead
	req.Accept = wire.BoundAccept(x.r.Header["Accept"])
	if req.Registry == defaultRegistry {
		req.Repo = wire.OfficialRepo(req.Repo)
	}
	req.Query = x.h.cursors.keep(req.Registry, req.Query)
	// Range has a meaning for GET only (RFC 9110 14.2).
	if req.Op == pullchain.Blob && !req.Head {
		switch ranges := x.wantedRanges(req.Digest); len(ranges) {
		case 0:
		case 1:
			req.Range, x.ranged = ranges[0], true
		default:
			x.parts = ranges
		}
	}
	return req
}

// read fetches and answers.
func (x *exchange) read() {
	if x.parts != nil {
		(&multirange{exchange: x}).read()
		return
	}
	var err error
	if x.resp, err = x.fetch(); err != nil {
		x.fail(err)
		return
	}
	defer x.resp.Body.Close()
	answer{x}.write()
}

// pong answers the version check: 200 to every client that is served, and no challenge but
// that of [access] and of registries to which clients' logins are passed on, so that no client
// starts a token dance or sends its login (docs/protocol.md 4.5).
func (x *exchange) pong() {
	x.pinged = true
	x.rec.setHeader("Content-Type", "application/json")
	x.rec.setHeader("Cache-Control", "no-store") // another client may get another answer
	x.rec.setHeader("X-Content-Type-Options", "nosniff")
	x.rec.setHeader("Content-Length", "2")
	x.rec.WriteHeader(http.StatusOK)
	if x.r.Method != http.MethodHead {
		x.rec.Write([]byte("{}"))
	}
}

// notFound answers for a registry that is not served, or for a path that is no
// API's. It is a 404 and never a 5xx: every client then goes on to its next mirror
// or to the registry itself, and none waits and tries again (docs/protocol.md 4.3).
func notFound(err error) problem {
	p := problem{status: http.StatusNotFound, code: wire.CodeNameUnknown, message: wire.Clip(err.Error())}
	if unknown, ok := errors.AsType[unknownRegistry](err); ok {
		p.message = "the registry " + wire.Clip(unknown.name) + " is not served here; " +
			"add a [[registry]] with this name to pullchain's configuration"
		if unknown.why != nil {
			p.message = wire.Clip(unknown.Error())
		}
	}
	return p
}

// badPath answers for a path that the grammar refuses, with the code that a
// registry would give.
func badPath(err error) problem {
	if e, ok := errors.AsType[*wire.PathError](err); ok {
		return problem{status: e.Status, code: e.Code, message: e.Message}
	}
	return problem{status: http.StatusBadRequest, code: wire.CodeNameInvalid, message: wire.Clip(err.Error())}
}
