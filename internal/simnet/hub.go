package simnet

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// HubConfig configures a registry in the manner of Docker Hub.
type HubConfig struct {
	Origin
	Images []Image
	// Backend, when set, is a real registry (plain HTTP is fine) whose
	// manifests and blobs are served in place of Images.
	Backend *url.URL

	Open   bool       // no tokens
	Auth   AuthConfig // of the hub's own token server; Origin fields default to the hub's
	Realm  string     // realm to announce; "" is the token server's
	Direct bool       // serve blobs itself, no CDN
	CDN    CDNConfig  // of the hub's own CDN; Origin fields default to the hub's

	Quota         Quota
	NoReferrers   bool // 404 for the referrers API
	AbsoluteLinks bool // Link headers with scheme and host
}

// A Hub is a registry with a token server, a CDN for its blobs, and a quota,
// each on an origin of its own.
type Hub struct {
	*Server
	*Library       // nil with a backend: nothing to change then
	Auth     *Auth // nil when the hub is open
	CDN      *CDN  // nil when the hub serves its blobs itself

	meter meter

	mu     sync.Mutex
	realm  string
	reject bool
	twins  map[string]*Hub // see twin
}

// AddHub starts a registry, and its token server and CDN, named with the
// suffixes "-auth" and "-cdn".
func (n *Net) AddHub(cfg HubConfig) *Hub {
	h := &Hub{realm: cfg.Realm}
	var from source
	if cfg.Backend != nil {
		from = newBackend(n, cfg.Backend)
	} else {
		h.Library = newLibrary(n, cfg.Images)
		from = h.Library
	}
	h.meter.set(cfg.Quota)
	g := &registry{from: from, count: h.count, noReferrers: cfg.NoReferrers}
	if !cfg.Open {
		h.Auth = n.AddAuth(authOf(cfg))
		g.admit = h.admit
	}
	if !cfg.Direct {
		h.CDN = n.AddCDN(cdnOf(cfg))
		h.CDN.serves(cfg.Name, from)
		g.redirect = func(repo string, d digest.Digest) string { return h.CDN.SignedURL(cfg.Name, repo, d) }
	}
	if cfg.AbsoluteLinks {
		g.linkBase = func() string { return h.PublicURL() }
	}
	cfg.Handler = g
	h.Server = n.start(cfg.Origin, nil)
	return h
}

// authOf fills in the token server's config. Its host is a sub-domain of the
// hub's, as auth.docker.io is of docker.io.
func authOf(cfg HubConfig) AuthConfig {
	a := cfg.Auth
	a.Origin = beside(a.Origin, cfg.Origin, "-auth", "auth."+cfg.Name+".sim", "auth.sim")
	if a.Service == "" {
		a.Service = cfg.Name
	}
	return a
}

// cdnOf fills in the CDN's config. Its host is in another domain, as
// production.cloudflare.docker.com is.
func cdnOf(cfg HubConfig) CDNConfig {
	c := cfg.CDN
	c.Origin = beside(c.Origin, cfg.Origin, "-cdn", cfg.Name+"-cdn.sim", "cdn.sim")
	return c
}

// beside completes o after the example of the hub's origin.
func beside(o, hub Origin, suffix string, hosts ...string) Origin {
	if o.Name == "" {
		o.Name = hub.Name + suffix
	}
	if len(o.Hosts) == 0 {
		o.Hosts = hosts
	}
	o.Plain = o.Plain || hub.Plain
	o.ByName = o.ByName || hub.ByName
	if hub.ClientAuth != tls.NoClientCert { // it wants none, and shows if it is given one all the same
		o.ClientAuth = max(o.ClientAuth, tls.RequestClientCert)
	}
	return o
}

// SetQuota replaces the quota and forgets what was used.
func (h *Hub) SetQuota(q Quota) { h.meter.set(q) }

// Remaining returns how many counted GETs are left to a source: a client's IP
// address, or the user of its token.
func (h *Hub) Remaining(source string) int { return h.meter.remaining(source) }

// SetRemaining changes what is left to source: 0 spends its quota.
func (h *Hub) SetRemaining(source string, left int) { h.meter.spend(source, left) }

// SetRealm announces another realm from now on; "" is the token server's.
func (h *Hub) SetRealm(realm string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.realm = realm
}

// RejectTokens makes the hub answer 401 whatever the token: the 401 loop.
func (h *Hub) RejectTokens(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reject = on
}

// admit is the bearer check.
func (h *Hub) admit(w http.ResponseWriter, r *http.Request, rt route) bool {
	h.mu.Lock()
	realm, reject := h.realm, h.reject
	h.mu.Unlock()
	if realm == "" {
		realm = h.Auth.Realm()
	}
	token, sent := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	_, valid, allowed := h.Auth.check(token, rt.repo)
	if allowed && !reject {
		return true
	}
	challenge := `Bearer realm="` + realm + `",service="` + h.Auth.cfg.Service + `"`
	if rt.repo != "" {
		challenge += `,scope="repository:` + rt.repo + `:pull"`
	}
	switch {
	case sent && (!valid || reject):
		challenge += `,error="invalid_token"`
	case sent:
		challenge += `,error="insufficient_scope"`
	}
	w.Header().Set("WWW-Authenticate", challenge)
	fail(w, r, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	return false
}

// count spends the quota of the request's source.
func (h *Hub) count(w http.ResponseWriter, r *http.Request, rt route) bool {
	source := clientIP(r)
	if h.Auth != nil {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if g, valid, _ := h.Auth.check(token, rt.repo); valid && g.user != "" {
			source = g.user
		}
	}
	return h.meter.take(w, r, source)
}
