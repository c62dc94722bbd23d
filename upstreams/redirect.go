package upstreams

import (
	"errors"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/pullchain/pullchain"
)

// maxHops is how many redirects one attempt follows.
const maxHops = 5

// follow chases redirects by rules of our own, because those of http.Client
// keep logins across ports and send custom headers and the Referer to every
// hop (docs/faults.md 11.4): at most five, never to a place twice, never where the
// guard or redirect_hosts forbid, and always with the method and the Range of the first
// request. The login stays on the origin (scheme, host and port) that it is for; once a
// redirect has left that, none brings the login back. It returns the first answer that
// is not a redirect.
func (a *attempt) follow(resp *http.Response, login pullchain.Secret) (*http.Response, error) {
	seen := map[string]bool{resp.Request.URL.String(): true}
	for hops := 0; isRedirect(resp.StatusCode); hops++ {
		from := resp.Request.URL
		to, err := location(resp)
		discard(resp) // its connection is wanted again for the next blob
		switch {
		case err != nil: // an odd answer, which is no word on any other request
			return nil, &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeUnexpected, Status: resp.StatusCode, Reach: pullchain.ReachRequest}
		case hops == maxHops:
			return nil, blocked(pullchain.CodeRedirectLoop, "%w", errTooManyHops)
		case seen[to.String()]:
			return nil, blocked(pullchain.CodeRedirectLoop, "redirected back to %s", to.Host)
		}
		seen[to.String()] = true
		if err := a.mayFollow(from, to); err != nil {
			return nil, err
		}
		a.redirected = true
		a.offOrigin = a.offOrigin || !sameOrigin(to, a.u.origin)
		if a.offOrigin && a.req.Op == pullchain.Blob {
			a.blobHost = to.Host
			a.u.facts.blobAt(to.Host)
		}
		switch {
		case a.offOrigin:
			resp, err = a.abroad(to)
		case a.steps.fresh: // a signed link takes no second kind of authentication, on the same host neither
			resp, err = a.hop(to, "")
		default:
			resp, err = a.hop(to, login)
		}
		if err != nil {
			return nil, err
		}
	}
	// The next blob's first hop will be small as well, or not: it goes over HTTP/2, where
	// the connection is warm, only if this one's led elsewhere.
	if a.req.Op == pullchain.Blob && resp.StatusCode < 300 {
		a.u.redirects.Store(resp.Request.URL.Host != a.u.origin.Host)
	}
	return resp, nil
}

// location returns where a redirect leads. Some have a raw space in it, as the names of
// their files do; browsers and curl escape it, and so do we.
func location(resp *http.Response) (*url.URL, error) {
	raw := strings.Trim(resp.Header.Get("Location"), " \t")
	if raw == "" {
		return nil, errNoLocation
	}
	return resp.Request.URL.Parse(strings.ReplaceAll(raw, " ", "%20"))
}

var errNoLocation = errors.New("a redirect without a Location")

// sameOrigin compares scheme, host and port (RFC 6454 5).
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(hostPort(a), hostPort(b))
}

// mayFollow returns an error unless the upstream at from may send us to to. The guard
// looks at the URL here and at the address when it is dialled; through a proxy the
// name is resolved at the far end, and the URL is all there is (docs/faults.md 11.5).
func (a *attempt) mayFollow(from, to *url.URL) error {
	if err := a.u.guard.Check(to, from); err != nil {
		return err
	}
	// Without redirect_hosts any public host will do: CDNs change theirs without notice
	// (docs/protocol.md 4.7).
	if len(a.u.cfg.RedirectHosts) == 0 || to.Host == a.u.origin.Host {
		return nil
	}
	for _, glob := range a.u.cfg.RedirectHosts {
		if ok, _ := path.Match(glob, to.Hostname()); ok {
			return nil
		}
	}
	return blocked(pullchain.CodeRedirectBlocked, "redirected to %q, which redirect_hosts does not name", to.Hostname())
}

// isRedirect reports whether an answer leads elsewhere. All our requests are GET or
// HEAD, so the five differ in nothing (RFC 9110 15.4). 300 and 304 have no place to go.
func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}
