package front

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/regauth"
	"github.com/pullchain/pullchain/internal/wire"
)

// Clients that have a login of their own get it passed on to registries with
// client_auth = "passthrough". They are asked for it as a registry asks: by a 401 that names a
// token server, which is us. What they show there goes to the registry's own token server,
// and what that gives goes back to them, marked with the registry that it is for.
//
// The version check is what docker, podman and crane learn from whether there is a token server
// at all, so it is answered by 401 where it may be for such a registry. A client without a
// login then gets a token that opens nothing, as it does at Docker Hub. containerd makes
// no check: it gets what can be read without a login without any, and a 401 for the rest.

const (
	// tokenPath is where our token server is.
	tokenPath = "/token"

	// anyService is the service of a challenge that names no registry: which one a token
	// is for, its scope says, as the path of a pull would.
	anyService = "pullchain"

	// maxTokenForm bounds the body of a POST for a token, in bytes: an identity token has
	// some KiB.
	maxTokenForm = 64 << 10

	// anonymousLife is how long a client without a login keeps its token.
	anonymousLife = 5 * time.Minute
)

// passes reports whether clients' own logins are passed on to r; r may be nil.
func (r *Registry) passes() bool { return r != nil && r.Token != nil }

// asksLogin reports whether a version check may be for a registry to which logins are passed
// on: the named one, or any where none is named.
func (t *Routes) asksLogin(where target) bool {
	if where.registry != nil && (where.form != formDefault || !where.registry.isHub()) {
		return where.registry.passes()
	}
	return t.passing() != nil
}

// passing returns a registry to which logins are passed on, or nil.
func (t *Routes) passing() (found *Registry) {
	if t != nil {
		found = t.firstPassing
	}
	return found
}

// A clientLogin is what an exchange has to do with the client's own login.
type clientLogin struct{ *exchange }

// isTokenCall reports whether r is for our token server.
func (h *Handler) isTokenCall(r *http.Request) bool {
	return r.URL.Path == tokenPath && h.routes.Load().passing() != nil
}

// mayPing reports whether the version check is answered as ever. Else it has answered a
// client that has no token yet, for one.
func (x clientLogin) mayPing(where target) bool {
	if _, shows, ok := x.shown(); shows && ok || !x.h.routes.Load().asksLogin(where) {
		return true
	}
	x.pinged = true
	x.challenge(where.registry, "")
	x.send(problem{status: http.StatusUnauthorized, code: wire.CodeUnauthorized, message: "ask " + tokenPath + " for a token; none is needed for public images"})
	return false
}

// A ticket is a token as a client of ours has it: with the registry that it is for, so
// that no registry is shown another's. One for none is anonymous.
type ticket struct {
	registry string
	token    pullchain.Secret
}

// ticketPrefix sets our tickets apart from what other token servers give.
const ticketPrefix = "pullchain1"

func (t ticket) String() string {
	if t.token == "" {
		return ticketPrefix
	}
	return ticketPrefix + "." + strings.ReplaceAll(t.registry, ":", "~") + "/" + t.token.Reveal()
}

// readTicket reads what String has written. Of its parts it proves nothing: the registry judges
// the token.
func readTicket(text string) (t ticket, ok bool) {
	rest, ok := strings.CutPrefix(text, ticketPrefix)
	if !ok || rest == "" {
		return t, ok
	}
	registry, token, ok := strings.Cut(rest[1:], "/")
	return ticket{strings.ReplaceAll(registry, "~", ":"), pullchain.Secret(token)}, ok && rest[0] == '.' && token != ""
}

// shown returns the ticket that the client shows. ok is false if it shows something else.
func (x clientLogin) shown() (t ticket, shows, ok bool) {
	value := header(x.r.Header, "Authorization")
	if value == "" {
		return t, false, true
	}
	scheme, text, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "bearer") {
		return t, true, false
	}
	t, ok = readTicket(strings.TrimSpace(text))
	return t, true, ok
}

// identify takes the client's own token into the request, or answers with a challenge and
// returns false.
func (x clientLogin) identify() bool {
	t, _, ok := x.shown()
	if !ok || t.token != "" && t.registry != x.registry.Name {
		x.challenge(x.registry, "invalid_token")
		x.refuse(problem{
			status:  http.StatusUnauthorized,
			code:    wire.CodeUnauthorized,
			message: "the token is none that pullchain gave for " + x.registry.Name + "; ask " + tokenPath + " for one",
		})
		return false
	}
	x.req.Bearer = t.token
	return true
}

// challenge says by WWW-Authenticate where to get a token for what is asked for.
func (x clientLogin) challenge(reg *Registry, why string) {
	service := anyService
	if named := x.form == formNS || x.form == formHost || !isAPI(x.r.URL.Path); named && reg != nil {
		service = reg.Name
	}
	host := strings.Map(func(r rune) rune {
		if r == '"' || r == '\\' {
			return -1
		}
		return r
	}, x.r.Host)
	c := fmt.Sprintf(`Bearer realm="%s://%s%s",service="%s"`, x.scheme(), host, tokenPath, service)
	if scope := x.clientScope(); scope != "" {
		c += `,scope="` + scope + `"`
	}
	if why != "" {
		c += `,error="` + why + `"`
	}
	x.rec.Header().Set("WWW-Authenticate", c)
}

// clientScope is the scope of what is asked for, in the client's own terms.
func (x clientLogin) clientScope() string {
	_, path, _ := splitAPI(x.r.URL.EscapedPath())
	asked, err := wire.Parse(path, "")
	if err != nil || asked.Kind != wire.Read {
		return ""
	}
	return "repository:" + asked.Req.Repo + ":pull"
}

// scheme is the one by which the client came here, or to the proxy of ours before it.
func (x clientLogin) scheme() string {
	forwarded := header(x.r.Header, "X-Forwarded-Proto")
	if x.r.TLS != nil || forwarded == "https" && x.h.proxies.contains(addrOf(x.r.RemoteAddr)) {
		return "https"
	}
	return "http"
}

// askLogin makes the answer p to a failed request for a registry that passes logins on a
// challenge, where a login may help. What no token was shown for may be there, or be within
// the limits, for a client that has a login.
func (x clientLogin) askLogin(p problem, e *pullchain.Error) problem {
	why := ""
	_, shows, _ := x.shown()
	switch {
	case e.Reason == pullchain.Denied && p.status == http.StatusForbidden:
		if shows {
			why = "insufficient_scope"
		}
	case shows || p.status != http.StatusNotFound && p.status != http.StatusTooManyRequests:
		return p
	}
	x.challenge(x.registry, why)
	p.status, p.code, p.retryAfter = http.StatusUnauthorized, wire.CodeUnauthorized, 0
	return p
}

// giveToken answers a call of our token server.
func (x clientLogin) giveToken() {
	asked, login, p := x.tokenCall()
	if p.status != 0 {
		x.refuse(p)
		return
	}
	grant, given := regauth.Grant{Life: anonymousLife}, ticket{}
	if reg, repos := x.scopes(asked); reg != nil && login != (regauth.Login{}) {
		client := x.client()
		if wait := x.h.guesses.Wait(client); wait > 0 && client.IsValid() { // many clients are not held to one's
			x.refuse(problem{status: http.StatusTooManyRequests, code: wire.CodeTooManyRequests, message: "too many wrong logins came from here; try again later", retryAfter: wait})
			return
		}
		var err error
		if grant, err = reg.Token(x.r.Context(), login, repos); err != nil {
			if pullchain.ReasonOf(err) == pullchain.Denied && !errors.Is(err, regauth.ErrAgain) {
				x.h.guesses.Wrong(client)
			}
			x.noToken(reg, err)
			return
		}
		given = ticket{reg.Name, grant.Token}
		if grant.Life == 0 {
			grant.Life = anonymousLife
		}
	}
	body, _ := json.Marshal(map[string]any{
		"token": given.String(), "access_token": given.String(),
		"expires_in": int(grant.Life / time.Second), "issued_at": time.Now().UTC().Format(time.RFC3339),
	})
	x.rec.setHeader("Content-Type", "application/json")
	x.rec.setHeader("Cache-Control", "no-store")
	x.rec.WriteHeader(http.StatusOK)
	x.rec.Write(body)
}

// tokenCall reads what a client asks our token server for, and its login: by GET with
// Basic, or by POST, as docker and containerd do with an identity token and containerd with
// a password (distribution, docs/spec/auth/token.md and oauth.md).
func (x clientLogin) tokenCall() (asked url.Values, login regauth.Login, p problem) {
	refused := func(status int, message string) (url.Values, regauth.Login, problem) {
		return nil, regauth.Login{}, problem{status: status, code: wire.CodeUnsupported, message: message}
	}
	switch x.r.Method {
	case http.MethodGet:
		if hasBody(x.r) {
			return refused(http.StatusBadRequest, "a GET request has no body")
		}
		asked = x.r.URL.Query()
		username, password, _ := x.r.BasicAuth()
		return asked, regauth.Login{Username: username, Password: pullchain.Secret(password)}, p
	case http.MethodPost:
	default:
		return refused(http.StatusMethodNotAllowed, "a token is asked for by GET or POST")
	}
	x.r.Body = http.MaxBytesReader(x.rec.ResponseWriter, x.r.Body, maxTokenForm)
	if err := x.r.ParseForm(); err != nil {
		return refused(http.StatusBadRequest, "the form cannot be read")
	}
	asked = x.r.PostForm
	switch asked.Get("grant_type") {
	case "password":
		login = regauth.Login{Username: asked.Get("username"), Password: pullchain.Secret(asked.Get("password"))}
	case "refresh_token":
		login = regauth.Login{Username: regauth.IdentityUser, Password: pullchain.Secret(asked.Get("refresh_token"))}
	default:
		return refused(http.StatusBadRequest, "grant_type is neither password nor refresh_token")
	}
	return asked, login, p
}

// scopes returns the registry that a token is asked for and its repositories, or nil if
// no login is passed on to it. A token is for one registry: scopes of others are left out. A
// login without a scope, as docker login shows it, is for the registry that is named, or
// for the only one that there is: it is shown to none by guessing.
func (x clientLogin) scopes(asked url.Values) (reg *Registry, repos []string) {
	routes, service := x.h.routes.Load(), asked.Get("service")
	for _, scope := range asked["scope"] {
		for one := range strings.FieldsSeq(scope) {
			to, repo := routes.scoped(x.r.Host, service, one, x.door.registry)
			if to == nil || reg != nil && to != reg {
				continue
			}
			reg, repos = to, append(repos, repo)
		}
	}
	if reg == nil && len(asked["scope"]) == 0 {
		if reg = routes.byName(service); reg == nil {
			reg = routes.byHost(x.r.Host)
		}
		if reg == nil && x.door.registry != defaultRegistry {
			reg = routes.byName(x.door.registry)
		}
		if reg == nil && routes.onePassing {
			reg = routes.firstPassing
		}
	}
	if !reg.passes() {
		return nil, nil
	}
	return reg, repos
}

// scoped returns what a scope names, or nil: it is spelt as the client spells the path
// of a pull from host, which may have named the registry as the service.
func (t *Routes) scoped(host, service, scope, byDefault string) (*Registry, string) {
	class, rest, _ := strings.Cut(scope, ":")
	name, _, ok := cutLast(rest, ":")
	if !ok || class != "repository" && !strings.HasPrefix(class, "repository(") {
		return nil, ""
	}
	query := ""
	if t.byName(service) != nil {
		query = "ns=" + url.QueryEscape(service)
	}
	where, err := t.resolve(host, "/v2/"+name+"/manifests/latest", query, byDefault)
	if err != nil || !where.registry.passes() {
		return nil, ""
	}
	asked, err := wire.Parse(where.path, "")
	if err != nil || asked.Kind != wire.Read {
		return nil, ""
	}
	if where.registry.isHub() {
		return where.registry, wire.OfficialRepo(asked.Req.Repo)
	}
	return where.registry, asked.Req.Repo
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// noToken answers a client whose login has got it no token.
func (x clientLogin) noToken(reg *Registry, err error) {
	x.err = err
	e := errorOf(err)
	p := problem{status: e.Reason.HTTPStatus(), code: wire.CodeUnavailable, message: reg.Name + " gives no token: " + wire.Clip(err.Error())}
	switch e.Reason {
	case pullchain.Denied:
		p.status, p.code = http.StatusUnauthorized, wire.CodeUnauthorized
		x.rec.Header().Set("WWW-Authenticate", `Basic realm="pullchain"`)
	case pullchain.Limited:
		p.status, p.code, p.retryAfter = http.StatusTooManyRequests, wire.CodeTooManyRequests, retryAfter(e)
	case pullchain.Canceled:
		x.gone = true
		panic(http.ErrAbortHandler)
	case pullchain.Refused:
		p.code = wire.CodeDenied
	default:
		p.retryAfter = retryAfter(e)
	}
	x.send(p)
}
