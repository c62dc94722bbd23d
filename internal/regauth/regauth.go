// Package regauth answers a registry's login challenges: it turns the
// WWW-Authenticate of a 401 into the Authorization of the next request, by
// asking a token server or by sending the configured login.
//
// Tokens are cached for 90 % of their life, renewed ahead, asked for once
// however many wait, and asked for before the registry has to refuse. A login
// goes to its own registry, to token servers of the same registrable domain,
// and to hosts that the operator named: a registry that names another realm
// gets anonymous tokens only (CVE-2026-33540).
//
// It makes no requests to the registry itself and logs nothing.
package regauth

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
)

// DefaultTimeout is what a token call may take, redirects included. It is no measure of
// patience: each request waits as long as its own context lets it, and the call goes on
// for the next. Some token servers take a quarter of a minute when they are busy, and
// there may be no other upstream to ask (docs/faults.md 0).
const DefaultTimeout = time.Minute

// Config is what a Source knows of its upstream.
type Config struct {
	Upstream  string                               // name, for errors
	Origin    *url.URL                             // of the registry; path and query are ignored
	Username  string                               // login; empty for anonymous
	Password  pullchain.Secret                     // of Username
	Token     pullchain.Secret                     // sent to the registry as it is, as "Bearer …"; instead of a login
	Ask       func(context.Context) (Login, error) // a program that knows the login, in the place of Username and Password; ends by itself. nil: there is none
	AuthHosts []string                             // that may be sent the login, beside the origin's domain; see [ParseAuthHost]
	Headers   map[string]pullchain.Secret          // the upstream's own; sent to a token server on the very same origin only
	Guard     *egress.Guard                        // judges realms and redirects; nil for the strictest. Private AuthHosts must be trusted there
	Timeout   time.Duration                        // of one token call; 0: DefaultTimeout
	Client    *http.Client                         // goes through the upstream's egress; its redirects are not used. nil: a direct one
}

// maxEntries bounds what one upstream makes us remember: one entry per
// repository and kind.
const maxEntries = 1024

// A Source makes the Authorization headers for one upstream. It is safe for
// concurrent use. There is nothing to close: each token call has its own limit.
type Source struct {
	cfg    Config
	client *http.Client
	logins logins
	calls  singleflight.Group // by key.String

	tokens   *otter.Cache[key, *token]
	refusals *otter.Cache[key, refusal]
	scopes   *otter.Cache[string, string] // repository -> scope, where the registry's differs from ours

	mu  sync.Mutex
	way way // how to log in, as far as it is known
}

// A way is how a registry wants us to log in. The zero way is: not known yet.
type way struct {
	basic   bool
	realm   *url.URL // nil unless bearer
	service string
	login   bool // the realm may be sent the login
	client  bool // which is a client's own: see Pass
}

// A key names a token: the origin and the credential are the Source's own, so
// with them the key is (origin, realm, service, scope, credential), as
// docs/faults.md 5 asks for (ggcr #2349).
type key struct{ realm, service, scope string }

func (k key) String() string { return k.realm + "\n" + k.service + "\n" + k.scope }

// New returns a Source that knows nothing yet. It makes no requests.
func New(cfg Config) *Source {
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	s := &Source{
		cfg:      cfg,
		client:   newClient(cfg),
		logins:   logins{ask: cfg.Ask, last: Login{cfg.Username, cfg.Password}},
		tokens:   otter.Must(&otter.Options[key, *token]{MaximumSize: maxEntries}),
		refusals: otter.Must(&otter.Options[key, refusal]{MaximumSize: maxEntries}),
		scopes:   otter.Must(&otter.Options[string, string]{MaximumSize: maxEntries}),
	}
	s.logins.changed = s.refusals.InvalidateAll
	return s
}

// Header returns the Authorization to send with a request that reads repo, or
// nothing if none is needed as far as is known. If a token is needed and none is
// at hand it asks the token server; calls for one token at one time are one
// call, which goes on when ctx of the first caller ends. An empty repo
// stands for the registry itself, /v2/, for which no token is ever fetched.
//
// Errors are *pullchain.Error with Scope ScopeToken: Limited, Unavailable,
// Denied, Refused or Egress, as the token server or the way to it behaved, or
// Canceled with ctx.
func (s *Source) Header(ctx context.Context, repo string) (pullchain.Secret, error) {
	if s.cfg.Token != "" {
		return bearer(s.cfg.Token), nil
	}
	w := s.known()
	if w.basic {
		if err := s.refused(basicKey(""), basicKey(repo)); err != nil {
			return "", err
		}
		login, err := s.login(ctx)
		return login.basic(), err
	}
	if w.realm == nil || repo == "" {
		return "", nil
	}
	k := s.key(w, repo)
	if t, ok := s.tokens.GetIfPresent(k); ok && t.usable() {
		if t.ageing() && t.renewing.CompareAndSwap(false, true) {
			s.call(w, k)
		}
		return t.header, nil
	}
	if err := s.refused(k.allScopes(), k); err != nil {
		return "", err
	}
	return s.wait(ctx, s.call(w, k))
}

// NeedsToken reports whether Header would ask the token server for repo now, or a program
// for the login.
func (s *Source) NeedsToken(repo string) bool {
	w := s.known()
	if w.basic {
		return s.logins.waits()
	}
	if s.cfg.Token != "" || w.realm == nil || repo == "" {
		return false
	}
	k := s.key(w, repo)
	if t, ok := s.tokens.GetIfPresent(k); ok && t.usable() {
		return false
	}
	return s.refused(k.allScopes(), k) == nil
}

// Wanted names the token that Header would ask for or send for repo: realm,
// service and scope. It changes when Learn has learnt better. Of a login it is the
// header, and as secret.
func (s *Source) Wanted(repo string) string {
	w := s.known()
	switch {
	case w.basic:
		return s.logins.known().basic().Reveal()
	case w.realm == nil:
		return ""
	}
	return s.key(w, repo).String()
}

// Reject says that the registry answered 401 to header, which came from Header
// for repo. A token is dropped, if it has not been replaced since. A login sent
// as Basic is held back from repo for a while, since repeated failures get
// accounts banned (docs/protocol.md 4.1); an empty repo holds it back from all. One that a
// program gave may be renewed first, which Learn finds out.
func (s *Source) Reject(repo string, header pullchain.Secret) {
	w := s.known()
	if w.basic {
		if s.cfg.Ask == nil && header == s.logins.known().basic() {
			s.refuse(basicKey(repo), refusedLogin, s.errLogin(http.StatusUnauthorized))
		}
		return
	}
	if w.realm == nil {
		return
	}
	k := s.key(w, repo)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.tokens.GetIfPresent(k); ok && t.header == header {
		s.tokens.Invalidate(k)
	}
}

// Password returns the password as it was last heard of, so that it can be kept out of
// what a far end writes.
func (s *Source) Password() pullchain.Secret { return s.logins.known().Password }

func (s *Source) known() way {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.way
}

func (s *Source) key(w way, repo string) key {
	scope, ok := s.scopes.GetIfPresent(repo)
	if !ok {
		scope = pullScope(repo)
	}
	return key{realm: w.realm.String(), service: w.service, scope: scope}
}

// allScopes names what holds for every scope: that the login is wrong.
func (k key) allScopes() key { return key{realm: k.realm, service: k.service} }

// basicKey names the refusal of a Basic login for one repository, or for all.
func basicKey(repo string) key { return key{scope: repo} }

func bearer(token pullchain.Secret) pullchain.Secret {
	return "Bearer " + token
}
