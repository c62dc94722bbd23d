package upstreams

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/regauth"
	"github.com/pullchain/pullchain/internal/wire"
)

// Ping asks for /v2/ and returns nil if a registry answers: 200, or the 401
// that asks for a login. A captive portal, a parked mirror or a block page is
// an error, whatever its status (docs/faults.md F26). The challenge is remembered,
// so that the first pull asks for its token ahead instead of being refused
// first.
func (u *Upstream) Ping(ctx context.Context) error {
	a := &attempt{u: u, req: pullchain.Request{Op: pullchain.Manifest}}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	defer a.cancel(nil)
	if err := a.ping(); err != nil {
		return u.explain(ctx, a, err)
	}
	u.Login() // which takes some time once: here no client waits for it
	return nil
}

// ping asks without a login: what is to be learnt is whether a registry is there, and
// how it wants to be logged in to. Failed logins ban an address (docs/protocol.md 4.1), and
// this is asked again and again.
func (a *attempt) ping() error {
	to := *a.u.origin
	to.Path = a.u.base + "/"
	resp, err := a.hop(&to, "")
	if err != nil {
		return err
	}
	a.learn(resp)
	if resp.StatusCode == http.StatusUnauthorized {
		defer discard(resp)
		if !isChallenge(resp) {
			return notRegistry("HTTP 401 without a registry's challenge")
		}
		a.u.seen.now()
		return a.u.auth.Learn(resp, "")
	}
	if resp, err = a.follow(resp, ""); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return a.refusal(resp)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(a.stream(resp), wire.MaxError))
	if err != nil {
		return err
	}
	if !isRegistry(resp, body) {
		return notRegistry("/v2/ answers %s, which no registry does", wire.Quote(resp.Header.Get("Content-Type")))
	}
	if !a.offOrigin {
		a.u.seen.now()
	}
	return nil
}

// isRegistry looks for signs that a 200 to /v2/ comes from a registry.
// Several that are do not send the version header, but none sends a page.
func isRegistry(resp *http.Response, body []byte) bool {
	if mediaType(resp) == "text/html" || looksLikeHTML(body) {
		return false
	}
	if isVersioned(resp.Header) {
		return true
	}
	text := bytes.TrimSpace(body)
	return len(text) == 0 || text[0] == '{' || bytes.HasPrefix(text, []byte("true"))
}

// isChallenge reports whether a 401 is a registry's: a Bearer challenge names a realm
// (distribution, docs/spec/auth/token.md), and a private registry may ask for Basic.
// Any web server can answer 401.
func isChallenge(resp *http.Response) bool {
	for _, c := range regauth.ParseChallenges(resp.Header.Values("WWW-Authenticate")) {
		if c.Scheme == "bearer" && c.Params["realm"] != "" || c.Scheme == "basic" {
			return true
		}
	}
	return false
}
