// Package admin is the operator's plane: health, readiness, the snapshot as
// JSON and as a table, and what an operator does to the cache and to upstreams. It reads values
// that the daemon took, and has no listener of its own.
package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/pullchain/pullchain/internal/admin/session"
	"github.com/pullchain/pullchain/internal/guard"
	"github.com/pullchain/pullchain/internal/history"
)

// Sources are what the operator's plane reads, and acts through. What is nil is
// not there: its paths answer 404, and so do those of a cache that is off.
type Sources struct {
	Snapshot func() Snapshot // called for each request that needs one, by several goroutines at once
	Cache    Cache
	Operator Operator
	Demo     Demo           // of `pullchain demo` alone
	Events   Events         // of all registries
	History  *history.Rings // what was seen of each upstream
	Traffic  Traffic        // what clients asked for and got
	Warm     Schedule       // what is fetched ahead of need

	Explainer Explainer
	Config    func() ConfigDocument // in force

	// Pages is what browsers are shown: "/" where the request accepts HTML, and the
	// paths of pagePaths. The request's context has a [Viewer].
	Pages http.Handler

	// Metrics is /metrics.
	Metrics http.Handler

	// Log takes a line for each action on the cache; nil discards. Those on lanes are the
	// Operator's to log.
	Log *slog.Logger

	// Guard runs what no request waits for; nil runs it too, and does not tell of panics.
	Guard *guard.Guard

	// Streams counts the readers of events; nil counts none.
	Streams *StreamCounts
}

// New returns the handler of the operator's plane.
func New(cfg Config, from Sources) http.Handler {
	h := &handler{cfg: cfg, Sources: from, hosts: newHostList(cfg), sessions: session.New()}
	h.hub = newHub(&h.Sources)
	return h
}

// A handler is the operator's plane. Beside its configuration it has the logins of
// browsers and the readers of streams.
type handler struct {
	Sources
	cfg      Config
	hosts    hostList
	foreign  http.CrossOriginProtection // tells the requests that pages of others make
	sessions *session.Sessions
	tries    session.Tries
	hub      *hub
}

// ServeHTTP decides whether a request is answered. Where there is a token, it is
// asked for, and health alone needs none. Where there is none, the Host header is
// checked: a page in a browser of this machine could ask as well, see hostList.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	at := find(r)
	switch {
	case !h.cfg.open() && !h.public(at, r) && !h.authorized(r):
		h.unauthorized(w, r)
	case h.cfg.open() && !overSocket(r) && !h.hosts.allow(r.Host):
		problem(w, r, http.StatusMisdirectedRequest, "unknown_host", "this Host is not one of ours: use an IP address, or name it in [admin] allowed_hosts")
	case h.isPage(at, r):
		h.page(w, r)
	case at.route != nil && at.route.method == http.MethodPost && !at.route.form:
		h.act(at.route, w, r)
	case at.route != nil:
		at.route.serve(h, w, r)
	case len(at.allow) > 0 || !reads(r):
		notAllowed(w, r, at.allow)
	default:
		problem(w, r, http.StatusNotFound, "not_found", "there is no such page")
	}
}

// notAllowed answers for a method that a path does not have. Where there is nothing,
// there would be something to read at most.
func notAllowed(w http.ResponseWriter, r *http.Request, allow []string) {
	if len(allow) == 0 {
		allow = methods(http.MethodGet)
	}
	list := strings.Join(allow, ", ")
	w.Header().Set("Allow", list)
	problem(w, r, http.StatusMethodNotAllowed, "method_not_allowed", "only "+list)
}

// reads reports whether a request changes nothing by its method.
func reads(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// public reports whether a request is answered without the token: for health, for
// what probes it, such as a kubelet, has none; and for the way to log in.
func (h *handler) public(at lookup, r *http.Request) bool {
	return at.route != nil && at.route.public || h.Pages != nil && isStatic(r.URL.Path)
}

// healthRoutes are for what watches over the daemon.
var healthRoutes = []route{
	{
		method: http.MethodGet, path: "/-/healthz", serve: showAlive, public: true,
		doc: doc{id: "healthz", about: "Whether the process answers at all.", media: "text/plain"},
	},
	{
		method: http.MethodGet, path: "/-/readyz", serve: (*handler).ready, public: true,
		doc: doc{
			id: "readyz", about: "Whether pulls can be sent here: 200 if one registry at least can be pulled from, else 503.", media: "text/plain",
			query:    []param{{"registry", "string", "ask for this registry alone"}},
			problems: []string{"unknown_registry"},
		},
	},
	{
		method: http.MethodGet, path: "/metrics", serve: showMetrics,
		doc: doc{id: "metrics", about: "Everything that is counted, for Prometheus.", media: "text/plain", problems: []string{"not_found"}},
	},
}

// showAlive answers that the process does.
func showAlive(h *handler, w http.ResponseWriter, r *http.Request) { text(w, r, http.StatusOK, "ok\n") }

// showMetrics answers a scrape.
func showMetrics(h *handler, w http.ResponseWriter, r *http.Request) {
	if h.Metrics == nil {
		problem(w, r, http.StatusNotFound, "not_found", "there are no metrics here")
		return
	}
	h.Metrics.ServeHTTP(w, r)
}

// ready answers whether pulls can be sent here. While the daemon drains they
// cannot, from the first moment on (docs/faults.md F36).
func (h *handler) ready(w http.ResponseWriter, r *http.Request) {
	s := h.Snapshot()
	list := s.Registries
	if name := r.URL.Query().Get("registry"); name != "" {
		one := s.Find(name)
		if one == nil {
			problem(w, r, http.StatusNotFound, "unknown_registry", "there is no such registry in the configuration")
			return
		}
		list = []Registry{*one}
	}
	switch {
	case s.Draining:
		text(w, r, http.StatusServiceUnavailable, "draining\n")
	case pullable(list):
		text(w, r, http.StatusOK, "ok\n")
	case h.cfg.open() || h.authorized(r):
		v := Summarize(chains(list), nil, s.Now, s.Warnings...)
		text(w, r, http.StatusServiceUnavailable, "not ready: "+v.Text+"\n")
	default: // which upstreams there are is for operators only
		text(w, r, http.StatusServiceUnavailable, "not ready\n")
	}
}

// pullable reports whether one registry at least can be pulled from, as far as is
// known. All would be too much to ask for: one registry that is down would take the
// others' pulls off this replica, with nowhere better to go. A replica that has just
// started is ready as soon as it listens, although nothing is proved yet: it would
// hold up a rolling update, and a pull that comes finds out by itself. It is not, once
// the first probes of all registries have failed.
func pullable(list []Registry) bool {
	for _, r := range list {
		if Standing(r.Snapshot) != Unreachable {
			return true
		}
	}
	return false
}

// snapshotRoutes are the daemon as it stands, as a whole and in parts, and what it is.
var snapshotRoutes = slices.Concat(wholeRoutes, registryRoutes, explainRoutes, aboutRoutes)

var wholeRoutes = []route{
	{
		method: http.MethodGet, path: "/api/v1/snapshot", serve: (*handler).json,
		doc: doc{id: "snapshot", about: "Everything as it stands. With If-None-Match it answers 304 while nothing has happened.", answer: Snapshot{}},
	},
	{
		method: http.MethodGet, path: "/", serve: (*handler).table,
		doc: doc{
			id: "table", about: "The same as a table of plain text, as `pullchain status` prints it. Browsers, which accept HTML, get the dashboard.", media: "text/plain",
			query: []param{{"lang", "string", "en or zh"}},
		},
	},
}

// json answers with the snapshot. Its ETag is a weak one and leaves out the
// clocks, so that a poller learns cheaply that nothing happened.
func (h *handler) json(w http.ResponseWriter, r *http.Request) {
	s := h.Snapshot()
	tag := etag(s)
	w.Header().Set("ETag", tag)
	if matches(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body, err := json.MarshalIndent(s, "", "  ") // last: to a poller that has it nothing is written
	if err != nil {
		problem(w, r, http.StatusInternalServerError, "internal", "the snapshot cannot be written as JSON")
		return
	}
	send(w, r, http.StatusOK, "application/json", append(body, '\n'))
}

// etag names a state of the daemon. Clocks, and how full the disk is by others'
// doing, are no change that a poller waits for.
func etag(s Snapshot) string {
	s.Now, s.UptimeS = s.Started, 0
	if s.Cache != nil { // others fill the disk too
		still := *s.Cache
		still.Free = 0
		s.Cache = &still
	}
	body, err := json.Marshal(s)
	if err != nil {
		return `W/""`
	}
	sum := sha256.Sum256(body)
	return `W/"` + hex.EncodeToString(sum[:12]) + `"`
}

// matches compares weakly, as If-None-Match does (RFC 9110, 13.1.2).
func matches(header, tag string) bool {
	for one := range strings.SplitSeq(header, ",") {
		one = strings.TrimSpace(one)
		if one == "*" || strings.TrimPrefix(one, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

// table answers as `pullchain status` does, for people with curl.
func (h *handler) table(w http.ResponseWriter, r *http.Request) {
	var b strings.Builder
	o := TableOptions{Messages: languageOf(r)}
	if err := WriteTable(&b, h.Snapshot(), o); err != nil {
		problem(w, r, http.StatusInternalServerError, "internal", "the table cannot be written")
		return
	}
	text(w, r, http.StatusOK, b.String())
}

func (c Config) open() bool { return c.Token == "" }

// secure sets the headers of every answer. Nothing but a page runs anything, see
// pagePolicy; no other page may put it into a frame, nor a proxy into a cache.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

func text(w http.ResponseWriter, r *http.Request, status int, body string) {
	send(w, r, status, "text/plain; charset=utf-8", []byte(body))
}

// A Problem is an error that programs can tell by its code (RFC 9457).
type Problem struct {
	Type   string `json:"type"` // "about:blank": the code says it all
	Title  string `json:"title"`
	Status int    `json:"status"` // of HTTP
	Code   string `json:"code"`
	Detail string `json:"detail"` // in English
}

// problem answers with a Problem.
func problem(w http.ResponseWriter, r *http.Request, status int, code, detail string) {
	body, _ := json.Marshal(Problem{"about:blank", http.StatusText(status), status, code, detail}) // it cannot fail
	send(w, r, status, "application/problem+json", append(body, '\n'))
}

// send sends an answer of known length.
func send(w http.ResponseWriter, r *http.Request, status int, mediaType string, body []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a reader that left needs no answer
	}
}
