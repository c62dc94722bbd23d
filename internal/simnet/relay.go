package simnet

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// RelayConfig configures a relay.
type RelayConfig struct {
	Origin
	Hub      *Hub   // what it relays to
	SourceIP string // loopback address to ask the hub from, for a quota of its own, as in "127.0.0.2" (Linux)
}

// A Relay behaves as the popular Cloudflare Worker, cloudflare-docker-proxy,
// does with Docker Hub:
//   - /v2/ is 401 with a realm of its own, https://<relay>/v2/auth, and no
//     scope in any challenge; /v2/auth asks the hub's token server,
//   - names without library/ get a 301,
//   - it follows a blob's redirect itself and drops Range, If-Range and the
//     method there: a ranged request is answered 200 with everything,
//   - the query is dropped, and all other statuses are passed on.
type Relay struct {
	*Server
	hub    *Hub
	client *http.Client
}

// AddRelay starts a relay.
func (n *Net) AddRelay(cfg RelayConfig) *Relay {
	y := &Relay{hub: cfg.Hub, client: n.clientFrom(cfg.SourceIP)}
	y.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	cfg.Handler = y
	y.Server = n.start(cfg.Origin, nil)
	return y
}

// ServeHTTP implements http.Handler; the server that is part of it calls it.
func (y *Relay) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case path == "/":
		http.Redirect(w, r, y.self(r)+"/v2/", http.StatusMovedPermanently)
	case path == "/v2/":
		y.ping(w, r)
	case path == "/v2/auth":
		y.auth(w, r)
	case strings.Count(path, "/") == 4: // /v2/redis/manifests/latest
		to := y.self(r) + "/v2/library/" + strings.TrimPrefix(path, "/v2/")
		if r.URL.RawQuery != "" {
			to += "?" + r.URL.RawQuery
		}
		w.Header().Set("Location", to)
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusMovedPermanently)
	default:
		y.forward(w, r)
	}
}

// self is the relay's URL as this client sees it.
func (y *Relay) self(r *http.Request) string { return y.scheme() + "://" + r.Host }

// ping passes the version check on to the hub, with the challenge turned into one
// of the relay's own.
func (y *Relay) ping(w http.ResponseWriter, r *http.Request) {
	h := http.Header{}
	if auth := r.Header.Get("Authorization"); auth != "" {
		h.Set("Authorization", auth)
	}
	resp := y.ask(w, r, http.MethodGet, y.hub.URL()+"/v2/", h)
	if resp == nil {
		return
	}
	defer resp.Body.Close()
	y.pass(w, r, resp)
}

// auth turns the hub's challenge into a token for the client's scope.
func (y *Relay) auth(w http.ResponseWriter, r *http.Request) {
	ping := y.ask(w, r, http.MethodGet, y.hub.URL()+"/v2/", http.Header{})
	if ping == nil {
		return
	}
	defer ping.Body.Close()
	realm, service := between(ping, `realm="`), between(ping, `service="`)
	if ping.StatusCode != http.StatusUnauthorized || realm == "" {
		y.pass(w, r, ping)
		return
	}
	q := url.Values{"service": {service}}
	if scope := r.URL.Query().Get("scope"); scope != "" {
		if parts := strings.Split(scope, ":"); len(parts) == 3 && !strings.Contains(parts[1], "/") {
			scope = parts[0] + ":library/" + parts[1] + ":" + parts[2]
		}
		q.Set("scope", scope)
	}
	h := http.Header{}
	if login := r.Header.Get("Authorization"); login != "" {
		h.Set("Authorization", login)
	}
	resp := y.ask(w, r, http.MethodGet, realm+"?"+q.Encode(), h)
	if resp == nil {
		return
	}
	defer resp.Body.Close()
	y.copy(w, r, resp)
}

// between reads a quoted parameter of the challenge.
func between(resp *http.Response, after string) string {
	_, rest, _ := strings.Cut(resp.Header.Get("WWW-Authenticate"), after)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// forward passes the request on, and follows one redirect without its headers.
func (y *Relay) forward(w http.ResponseWriter, r *http.Request) {
	h := r.Header.Clone()
	h.Del("Connection")
	resp := y.ask(w, r, r.Method, y.hub.URL()+r.URL.Path, h)
	if resp == nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusTemporaryRedirect {
		cdn := y.ask(w, r, http.MethodGet, resp.Header.Get("Location"), http.Header{})
		if cdn == nil {
			return
		}
		defer cdn.Body.Close()
		resp = cdn
	}
	y.pass(w, r, resp)
}

// ask does a sub-request. It returns nil after it has answered 530, as
// Cloudflare does for an origin that cannot be reached.
func (y *Relay) ask(w http.ResponseWriter, r *http.Request, method, to string, h http.Header) *http.Response {
	req, err := http.NewRequestWithContext(r.Context(), method, to, nil)
	if err == nil {
		req.Header = h
		var resp *http.Response
		if resp, err = y.client.Do(req); err == nil {
			return resp
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	w.WriteHeader(530)
	_, _ = io.WriteString(w, "error code: 1016")
	return nil
}

// pass answers with resp, except that every 401 becomes the relay's own.
func (y *Relay) pass(w http.ResponseWriter, r *http.Request, resp *http.Response) {
	if resp.StatusCode == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+y.self(r)+`/v2/auth",service="cloudflare-docker-proxy"`)
		w.Header().Set("Content-Type", "text/plain;charset=UTF-8")
		w.WriteHeader(http.StatusUnauthorized)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, `{"message":"UNAUTHORIZED"}`)
		}
		return
	}
	y.copy(w, r, resp)
}

// copy answers with resp.
func (y *Relay) copy(w http.ResponseWriter, r *http.Request, resp *http.Response) {
	for k, vs := range resp.Header {
		w.Header()[k] = vs
	}
	w.Header().Del("Connection")
	w.Header().Set("CF-RAY", "8f00000000000000-SIM")
	if resp.ContentLength >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	}
	w.WriteHeader(resp.StatusCode)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
}
