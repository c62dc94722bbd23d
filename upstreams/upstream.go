// Package upstreams fetches from one registry over one path: it knows how this
// upstream spells names, how to log in, which egress to dial through and how far
// to follow its redirects. A Fetch is one attempt; trying again, or elsewhere, is
// the balancer's business.
//
// Whatever an upstream answers becomes either a [pullchain.Response] that can
// be trusted as far as headers go, or a [pullchain.Error] whose Reason says
// what to do next. Manifests are read whole and verified before they are
// returned; blobs stream.
//
// An attempt goes like this. It asks the upstream's own origin, logged in, and answers
// one challenge (attempt.go); it follows redirects, without the login (redirect.go);
// what is below 300 becomes a Response (respond.go, manifest.go, blob.go, body.go), and
// anything else an Error (classify.go), whose text is free of secrets (redact.go). Where
// the way of asking is refused, it asks in a lesser one (stepdown.go). In passing it
// learns what people want to know of the far end (facts.go).
package upstreams

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/regauth"
)

// An Upstream is one path to one registry. It is a [pullchain.Fetcher] and safe
// for concurrent use.
type Upstream struct {
	cfg    Config
	origin *url.URL        // scheme and host alone
	base   string          // path in front of a repository: "/v2", or what the URL says
	prefix string          // put in front of every repository's name, with its slash; may be empty
	auth   *regauth.Source // tokens, and what has been learnt of where to get them
	guard  *egress.Guard

	lines             // to its own origin
	away  lines       // to whatever that leads to: the same, but where there is a certificate for the origin alone
	cert  *clientCert // nil for none

	login        func() string // see Login
	facts        facts
	h2           h2Health
	skills       skills                        // how requests are best put to it
	foreign      foreign                       // tokens of other registries that its redirects lead to
	seen         registrySeen                  // when its own host last answered as a registry
	namesRight   atomic.Bool                   // the first digest that it named for a tag was not missing
	lastManifest atomic.Pointer[digest.Digest] // that GET has brought
	redirects    atomic.Bool                   // blobs were last redirected elsewhere, so their first hop is small
	limits       limits
	bounds       bounds
}

// New returns the upstream that cfg describes, dialling through proxy. It
// returns an error if cfg is not valid or one of its files cannot be used. Close
// frees the idle connections.
func New(cfg Config, proxy egress.Config) (*Upstream, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	full, err := cfg.origin()
	if err != nil {
		return nil, err
	}
	roots, err := loadRoots(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	cert, err := cfg.loadClientCert()
	if err != nil {
		return nil, err
	}
	u := &Upstream{
		cert:   cert,
		cfg:    cfg,
		origin: &url.URL{Scheme: full.Scheme, Host: full.Host},
		limits: cfg.limits(),
		bounds: bounds{egress.NewBandwidth(cfg.Rate)},
		login:  cert.logins(cfg),
	}
	// What to expect of the first blob: the well-known registries redirect it to a CDN
	// (docs/protocol.md 4.7), and a relay passes it on itself.
	u.redirects.Store(cfg.Authoritative != nil && *cfg.Authoritative)
	u.base, u.prefix = splitPath(full.Path)
	guarded := egress.GuardConfig{
		Trusted:      cfg.trustedRealms(),
		AllowPrivate: cfg.AllowPrivate,
		AllowHTTP:    full.Scheme == "http",
		Named:        cfg.RedirectHosts,
		Proxied:      proxy.Proxied(),
	}
	if cfg.Asked {
		guarded.Asked = hostPort(full)
	} else {
		guarded.Trusted = append(guarded.Trusted, hostPort(full))
	}
	u.guard, err = egress.NewGuard(guarded)
	if err != nil {
		return nil, err
	}
	if err := u.dial(proxy, roots); err != nil {
		return nil, err
	}
	u.auth = regauth.New(regauth.Config{
		Upstream:  cfg.Name,
		Origin:    u.origin,
		Username:  cfg.Username,
		Password:  cfg.Password,
		Token:     cfg.Token,
		Ask:       cfg.asker(u.origin),
		AuthHosts: cfg.AuthHosts,
		Headers:   cfg.Headers,
		Guard:     u.guard,
		Timeout:   u.limits.token,
		Client:    tokenClient(tokenLines{u}),
	})
	return u, nil
}

// Name returns the name that the configuration gives this upstream.
func (u *Upstream) Name() string { return u.cfg.Name }

// Close drops idle connections. Bodies that are being read go on: a reload replaces an
// upstream while its layers are still under way.
func (u *Upstream) Close() {
	u.lines.close()
	u.away.close()
}

// Reset forgets which ways of asking the upstream has refused, so that all are tried
// again. What it knows of tokens and logins stays: that is no judgement.
func (u *Upstream) Reset() {
	u.skills.reset()
	u.h2.reset()
	u.namesRight.Store(false)
}

// NeedsToken reports whether fetching req would first have to ask the token
// server. It is how a lane knows that a cooling token server is in the way.
func (u *Upstream) NeedsToken(req pullchain.Request) bool {
	return !u.passes(req) && u.auth.NeedsToken(u.repo(req))
}

// Fetch makes one attempt at req. Its Response is Private if the upstream has a
// login, or is said to be private: what is cached of it is not for every client
// (docs/faults.md 5, CVE-2024-39897). The errors it returns are *pullchain.Error
// with Upstream, Reason and Code set.
func (u *Upstream) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	a := &attempt{u: u, req: req}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	resp, err := a.run()
	if err != nil {
		a.cancel(nil)
		return pullchain.Response{}, u.explain(ctx, a, err)
	}
	return resp, nil
}

// explain completes err with what only this upstream knows. A client that went away is
// told apart first: whatever else its going has broken is no fault of the upstream.
func (u *Upstream) explain(ctx context.Context, a *attempt, err error) error {
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return &pullchain.Error{Reason: pullchain.Canceled, Code: pullchain.CodeCanceled, Reach: pullchain.ReachRequest, Upstream: u.cfg.Name, Err: context.Cause(ctx)}
	}
	var e *pullchain.Error
	if !errors.As(err, &e) {
		e = classifyTransport(err, a.offOrigin)
		u.h2.observe(e) // a body's errors have been observed where they came up
	}
	noteBlobFailed(a, e)
	failed := *e
	failed.Upstream, failed.Err = u.cfg.Name, a.redactError(e.Err)
	if e.Code == pullchain.CodeTLSHandshake && !a.offOrigin {
		failed.Err = u.cert.explain(failed.Err)
	}
	return &failed
}

// splitPath tells the API's path from a prefix of repositories. A URL that ends
// in /v2 says where the API is, as containerd's override_path does; any other
// path is a project that holds the registry's repositories, as a Harbor proxy
// project does: /v2/<project>/<repository>. A path that begins with /v2/ says both,
// as people write it for containerd.
func splitPath(p string) (base, prefix string) {
	if p == "/v2" || strings.HasSuffix(p, "/v2") {
		return p, ""
	}
	if p == "" {
		return "/v2", ""
	}
	return "/v2", strings.TrimPrefix(strings.TrimPrefix(p, "/v2/"), "/") + "/"
}

// loadRoots returns the system's roots and those of the PEM file, or nil for
// the system's alone.
func loadRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file: %s holds no PEM certificate", file)
	}
	return roots, nil
}

// trustedRealms returns the token servers that the operator typed, as host:port:
// they may be at private addresses, as what is typed may.
func (c Config) trustedRealms() []string {
	var hosts []string
	for _, entry := range c.AuthHosts {
		if h, err := regauth.ParseAuthHost(entry); err == nil { // else Validate has said so
			hosts = append(hosts, h.Address())
		}
	}
	return hosts
}

// hostPort returns u's host with the port its scheme implies.
func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	if u.Scheme == "http" {
		return u.Host + ":80"
	}
	return u.Host + ":443"
}

// keepRedirects leaves a token server's redirects to regauth, which looks at each
// before it follows it.
func keepRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
