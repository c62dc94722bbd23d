package simnet

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// AuthConfig configures a token server.
type AuthConfig struct {
	Origin
	Service   string            // service that tokens are for; "" takes any
	Users     map[string]string // user name -> password
	Private   []string          // repositories that only users may pull
	TTL       time.Duration     // life of a token; 0 is 300 s
	Field     string            // "token", "access_token", or "" for both
	NoExpires bool              // leave expires_in out of the answer (the client must assume 60 s)
}

// An Auth is a token server as the distribution project specifies it: GET
// /token with service and scopes, anonymous or with a Basic login.
type Auth struct {
	*Server
	cfg AuthConfig

	mu     sync.Mutex
	tokens map[string]grant
}

// A grant is what a token allows.
type grant struct {
	user   string
	scopes []string // "repository:library/alpine:pull"
	until  time.Time
}

// AddAuth starts a token server. A hub makes its own unless it is given one.
func (n *Net) AddAuth(cfg AuthConfig) *Auth {
	if cfg.TTL == 0 {
		cfg.TTL = 300 * time.Second
	}
	a := &Auth{cfg: cfg, tokens: map[string]grant{}}
	cfg.Handler = a
	a.Server = n.start(cfg.Origin, nil)
	return a
}

// Realm returns the URL of the token endpoint.
func (a *Auth) Realm() string { return a.PublicURL() + "/token" }

// ExpireTokens makes every token issued so far invalid.
func (a *Auth) ExpireTokens() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens = map[string]grant{}
}

// Issue returns a new token, as if asked for by user ("" is anonymous) with
// these scopes.
func (a *Auth) Issue(user string, scopes ...string) string {
	g := grant{user: user, until: time.Now().Add(a.cfg.TTL)}
	for _, s := range scopes {
		if kind, repo, ok := splitScope(s); ok && kind == "repository" && !(user == "" && slices.Contains(a.cfg.Private, repo)) {
			g.scopes = append(g.scopes, "repository:"+repo+":pull")
		}
	}
	token := "simnet-" + rand.Text()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens[token] = g
	return token
}

// splitScope takes "repository:name:actions" apart. Names have no colon here.
func splitScope(s string) (kind, repo string, ok bool) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return "", "", false
	}
	return parts[0], parts[1], true
}

// ServeHTTP implements http.Handler; the server that is part of it calls it.
func (a *Auth) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/token" {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet { // OAuth2's POST: clients fall back to GET on 405 (docs/protocol.md 4.6)
		fail(w, r, http.StatusMethodNotAllowed, "UNSUPPORTED", "the operation is unsupported")
		return
	}
	user, password, login := r.BasicAuth()
	if want, known := a.cfg.Users[user]; login && (!known || want != password) || !login && r.Header.Get("Authorization") != "" {
		w.Header().Set("WWW-Authenticate", `Basic realm="simnet"`)
		fail(w, r, http.StatusUnauthorized, "UNAUTHORIZED", "incorrect username or password")
		return
	}
	q := r.URL.Query()
	if a.cfg.Service != "" && q.Get("service") != a.cfg.Service {
		fail(w, r, http.StatusBadRequest, "DENIED", "unknown service")
		return
	}
	var scopes []string
	for _, s := range q["scope"] {
		scopes = append(scopes, strings.Fields(s)...)
	}
	token := a.Issue(user, scopes...)
	answer := map[string]any{"issued_at": time.Now().UTC().Format(time.RFC3339)}
	if !a.cfg.NoExpires {
		answer["expires_in"] = int(a.cfg.TTL / time.Second)
	}
	if a.cfg.Field != "access_token" {
		answer["token"] = token
	}
	if a.cfg.Field != "token" {
		answer["access_token"] = token
	}
	writeJSON(w, r, "application/json", encode(answer))
}

// check says whether a token is valid, and whether it allows pulling repo. An
// empty repo is allowed to every holder of a token.
func (a *Auth) check(token, repo string) (g grant, valid, allowed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g, valid = a.tokens[token]
	if valid && time.Now().After(g.until) {
		delete(a.tokens, token)
		valid = false
	}
	return g, valid, valid && (repo == "" || slices.Contains(g.scopes, "repository:"+repo+":pull"))
}
