package upstreams

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/regauth"
	"github.com/pullchain/pullchain/internal/wire"
)

// A redirect may lead to another registry, which wants a token of its own: registries
// under a name of their owner's do that (registry.k8s.io did, to Artifact Registry). It
// is asked for anonymously, and under the guard: no login ever goes there, and the token
// goes to the origin that asked for it and to no other (docs/faults.md 0.4).

// foreign are the token sources of the registries to which redirects have led and that
// wanted a token. There is none before the first challenge: a signed link must not come
// with a second kind of authentication.
type foreign struct {
	mu sync.Mutex
	by map[string]*regauth.Source // by origin
}

// maxForeign bounds what redirects can make us remember.
const maxForeign = 16

// source returns the source for the origin of at. Where there is none it is nil, or a
// new one if make is set.
func (f *foreign) source(u *Upstream, at *url.URL, make bool) *regauth.Source {
	origin := &url.URL{Scheme: at.Scheme, Host: hostPort(at)}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.by[origin.String()]
	if s != nil || !make {
		return s
	}
	if f.by == nil || len(f.by) >= maxForeign {
		f.by = map[string]*regauth.Source{}
	}
	s = regauth.New(regauth.Config{ // neither a login nor headers: they are for the upstream alone
		Upstream: u.cfg.Name,
		Origin:   origin,
		Guard:    u.guard,
		Timeout:  u.limits.token,
		Client:   tokenClient(u.away.api),
	})
	f.by[origin.String()] = s
	return s
}

// abroad makes a hop at another origin, and once more with its anonymous token if that
// is what it wants.
func (a *attempt) abroad(to *url.URL) (*http.Response, error) {
	repo := repoOf(to.Path)
	var token pullchain.Secret
	if known := a.u.foreign.source(a.u, to, false); known != nil && repo != "" {
		var err error
		if token, err = known.Header(a.ctx, repo); err != nil {
			return nil, itself(err)
		}
	}
	resp, err := a.hop(to, token)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || repo == "" || !wantsToken(resp) {
		return resp, err
	}
	source := a.u.foreign.source(a.u, to, true)
	if token != "" {
		source.Reject(repo, token)
	}
	err = source.Learn(resp, repo)
	discard(resp)
	if err != nil {
		return nil, itself(err)
	}
	if token, err = source.Header(a.ctx, repo); err != nil {
		return nil, itself(err)
	}
	return a.hop(to, token)
}

// itself says of a failure at another registry that it judges this request alone.
func itself(err error) error {
	var e *pullchain.Error
	if !errors.As(err, &e) {
		return err
	}
	own := *e
	own.Reach = pullchain.ReachRequest
	return &own
}

// wantsToken reports whether a 401 is one that a token answers.
func wantsToken(resp *http.Response) bool {
	for _, c := range regauth.ParseChallenges(resp.Header.Values("WWW-Authenticate")) {
		if c.Scheme == "bearer" && c.Params["realm"] != "" {
			return true
		}
	}
	return false
}

// repoOf returns the repository in the path of a registry's API, or "": a place that is
// no registry's gets no token.
func repoOf(path string) string {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return ""
	}
	for _, part := range []string{"/manifests/", "/blobs/", "/tags/", "/referrers/"} {
		if i := strings.LastIndex(rest, part); i > 0 && wire.CheckRepo(rest[:i]) == nil {
			return rest[:i]
		}
	}
	return ""
}
