// Package admin is the operator's plane: health, readiness, the snapshot as
// JSON and as a table, and what an operator does to the cache and to upstreams. It reads values
// that the daemon took, and has no listener of its own.
package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/pullchain/pullchain/internal/messages"
)

// Sources are what the operator's plane reads, and acts through. What is nil is
// not there: its paths answer 404, and so do those of a cache that is off.
type Sources struct {
	Snapshot  func() Snapshot // called for each request that needs one, by several goroutines at once
	Cache     Cache
	Upstreams Upstreams
	Demo      Demo // of `pullchain demo` alone
}

// New returns the handler of the operator's plane.
func New(cfg Config, from Sources) http.Handler {
	return &handler{cfg: cfg, Sources: from, hosts: newHostList(cfg)}
}

// A handler is the operator's plane. It has no state but its configuration.
type handler struct {
	Sources
	cfg     Config
	hosts   hostList
	foreign http.CrossOriginProtection // tells the requests that pages of others make
}

// ServeHTTP decides whether a request is answered. Where there is a token, it is
// asked for, and health alone needs none. Where there is none, the Host header is
// checked: a page in a browser of this machine could ask as well, see hostList.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	switch {
	case !h.cfg.open() && !health[r.URL.Path] && !h.authorized(r):
		w.Header().Set("WWW-Authenticate", `Bearer realm="pullchain"`)
		problem(w, r, http.StatusUnauthorized, "unauthorized", "send the token of [admin] token_file as a bearer token")
	case h.cfg.open() && !h.hosts.allow(r.Host):
		problem(w, r, http.StatusMisdirectedRequest, "unknown_host", "this Host is not one of ours: use an IP address, or name it in [admin] allowed_hosts")
	case actions[r.URL.Path] != nil:
		h.act(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		problem(w, r, http.StatusMethodNotAllowed, "method_not_allowed", "only GET and HEAD")
	default:
		h.route(w, r)
	}
}

// route answers what is only read.
func (h *handler) route(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/-/healthz":
		text(w, r, http.StatusOK, "ok\n")
	case "/-/readyz":
		h.ready(w, r)
	case "/api/v1/snapshot":
		h.json(w, r)
	case "/api/v1/cache":
		h.cacheStats(w, r)
	case "/api/v1/cache/objects":
		h.objects(w, r)
	case "/api/v1/demo":
		h.switches(w, r)
	case "/":
		h.table(w, r)
	default:
		problem(w, r, http.StatusNotFound, "not_found", "there is no such page")
	}
}

// health are the paths that need no token: what probes them, such as a
// kubelet, has none.
var health = map[string]bool{"/-/healthz": true, "/-/readyz": true}

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
		v := Summarize(chains(list), nil, s.Now)
		text(w, r, http.StatusServiceUnavailable, "not ready: "+v.Text+"\n")
	default: // which upstreams there are is for operators only
		text(w, r, http.StatusServiceUnavailable, "not ready\n")
	}
}

// pullable reports whether one registry at least can be pulled from. All would be
// too much to ask for: one registry that is down would take the others' pulls off
// this replica, with nowhere better to go.
func pullable(list []Registry) bool {
	for _, r := range list {
		if r.Pullable {
			return true
		}
	}
	return false
}

// json answers with the snapshot. Its ETag is a weak one and leaves out the
// clocks, so that a poller learns cheaply that nothing happened.
func (h *handler) json(w http.ResponseWriter, r *http.Request) {
	s := h.Snapshot()
	body, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		problem(w, r, http.StatusInternalServerError, "internal", "the snapshot cannot be written as JSON")
		return
	}
	tag := etag(s)
	w.Header().Set("ETag", tag)
	if matches(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
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
	o := TableOptions{Messages: messages.In(r.URL.Query().Get("lang"))}
	if err := WriteTable(&b, h.Snapshot(), o); err != nil {
		problem(w, r, http.StatusInternalServerError, "internal", "the table cannot be written")
		return
	}
	text(w, r, http.StatusOK, b.String())
}

func (c Config) open() bool { return c.Token == "" }

// authorized compares digests, so that the time it takes tells neither the
// token nor its length.
func (h *handler) authorized(r *http.Request) bool {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	want, got := sha256.Sum256([]byte(h.cfg.Token.Reveal())), sha256.Sum256([]byte(strings.TrimSpace(token)))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// secure sets the headers of every answer. Nothing here is a page that runs
// anything, and no other page may put it into a frame, nor a proxy into a cache.
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

// problem answers with an error that programs can tell by its code (RFC 9457).
func problem(w http.ResponseWriter, r *http.Request, status int, code, detail string) {
	body, _ := json.Marshal(struct { // of strings and an int: it cannot fail
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}{"about:blank", http.StatusText(status), status, code, detail})
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
