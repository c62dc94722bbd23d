package regauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// Learn remembers how to log in from resp, a 401 of the registry itself, to a
// request that read repo (empty: /v2/). After it Header gives what the registry
// asked for. Resp's body is not touched.
//
// A 401 that came from elsewhere than the origin teaches nothing and is Refused
// (CVE-2026-49349, CVE-2020-15157). So is a realm that must not be asked, with
// Code auth_realm. Where nothing can be done about the 401, because it is the
// answer to the very login that is configured or asks for one that is not, the
// error is Denied; but for an empty repo that is no error, as the registry has
// proved that it is there.
func (s *Source) Learn(resp *http.Response, repo string) error {
	if resp.Request == nil || !sameOrigin(resp.Request.URL, s.cfg.Origin) {
		return s.fail(pullchain.Refused, pullchain.CodeAuthRealm, resp.StatusCode, errors.New("a challenge from another host is never answered"))
	}
	sent := resp.Request.Header.Get("Authorization")
	if s.cfg.Token != "" {
		if sent == bearer(s.cfg.Token).Reveal() {
			return s.errLogin(resp.StatusCode)
		}
		return nil // Header has it, whatever the challenge says
	}
	w, challenge, err := s.choose(ParseChallenges(resp.Header.Values("WWW-Authenticate")))
	if err != nil {
		if repo == "" && pullchain.ReasonOf(err) == pullchain.Denied {
			return nil
		}
		return err
	}
	if w.basic && sent != "" {
		if err := s.relogin(resp.Request.Context(), repo, pullchain.Secret(sent)); err != nil {
			return err
		}
	}
	s.noteScope(repo, challenge.Scopes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.way = w
	return nil
}

// choose picks the challenge to answer: a token server that may be asked, else
// our login by Basic.
func (s *Source) choose(offers []Challenge) (way, Challenge, error) {
	var refused error
	for _, c := range offers {
		if c.Scheme != "bearer" || c.Params["realm"] == "" {
			continue
		}
		realm, err := s.checkRealm(c.Params["realm"])
		if err != nil {
			refused = s.fail(pullchain.Refused, pullchain.CodeAuthRealm, http.StatusUnauthorized, err)
			continue
		}
		return way{realm: realm, service: c.Params["service"], login: s.mayLogin(realm)}, c, nil
	}
	for _, c := range offers {
		if c.Scheme == "basic" && s.logins.can() {
			return way{basic: true}, c, nil
		}
	}
	if refused != nil {
		return way{}, Challenge{}, refused
	}
	if len(offers) == 0 {
		return way{}, Challenge{}, s.fail(pullchain.Denied, pullchain.CodeUnauthorized, http.StatusUnauthorized, errors.New("401 without a challenge"))
	}
	return way{}, Challenge{}, s.fail(pullchain.Denied, pullchain.CodeUnauthorized, http.StatusUnauthorized,
		fmt.Errorf("the registry wants a login by %s and none is configured", wire.Quote(offers[0].Scheme)))
}

// noteScope remembers a scope that the registry spells otherwise than we would.
func (s *Source) noteScope(repo string, offered []string) {
	if repo == "" {
		return
	}
	if scope := grantedScope(offered, repo); scope != pullScope(repo) {
		s.scopes.Set(repo, scope)
		return
	}
	s.scopes.Invalidate(repo)
}

// pullScope is what one asks for to read repo (distribution's token.md).
func pullScope(repo string) string { return "repository:" + repo + ":pull" }

// grantedScope returns the scope to ask for. A challenge's scope counts only if
// it lets one pull repo: it may spell the resource class or the name otherwise
// ("repository(plugin)", library/ in front, an own prefix stripped). It never
// widens what is asked: no push, no other repository, however the registry
// would like it (ggcr #2337: scope pollution).
func grantedScope(offered []string, repo string) string {
	for _, scope := range offered {
		class, rest, _ := strings.Cut(scope, ":")
		name, actions, ok := cutLast(rest, ":")
		if !ok || class != "repository" && !strings.HasPrefix(class, "repository(") || !strings.Contains(","+actions+",", ",pull,") {
			continue
		}
		if name == repo || name == "library/"+repo || strings.HasSuffix(repo, "/"+name) {
			return class + ":" + name + ":pull"
		}
	}
	return pullScope(repo)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func sameOrigin(a, b *url.URL) bool {
	return a != nil && b != nil && a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "http":
		return "80"
	}
	return "443"
}
