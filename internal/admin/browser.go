package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/pullchain/pullchain/internal/admin/session"
)

const (
	sessionCookie = "pullchain_session" // a login
	formCookie    = "pullchain_form"    // what the tokens in forms belong to where there is no login

	// pagePolicy lets a page use what comes from here, and nothing that stands in
	// the page itself: text from elsewhere that got into it does not run.
	pagePolicy = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)

// staticPaths are above what pages need to be shown at all. It is the same for every
// browser, and in the source code: it needs no token.
var staticPaths = []string{"/assets/", "/static/"}

// isStatic reports whether a path is below one of them.
func isStatic(path string) bool {
	return slices.ContainsFunc(staticPaths, func(p string) bool { return strings.HasPrefix(path, p) })
}

// pagePaths are the paths of pages; a path that ends in a slash is all below it.
var pagePaths = []string{"/r/", "/pulls", "/pulls/", "/clients", "/cache", "/events", "/setup", "/explain", "/keys", ConfirmPath, "/assets/", "/static/", "/badge/"}

// isPage reports whether a request is for a page. At a path that has none the pages
// still tell a browser so.
func (h *handler) isPage(at lookup, r *http.Request) bool {
	if h.Pages == nil || !reads(r) {
		return false
	}
	if at.route != nil {
		return r.URL.Path == "/" && acceptsHTML(r)
	}
	for _, path := range pagePaths {
		if r.URL.Path == path || strings.HasSuffix(path, "/") && strings.HasPrefix(r.URL.Path, path) {
			return true
		}
	}
	return len(at.allow) == 0 && acceptsHTML(r)
}

// acceptsHTML reports whether a request comes from a browser that is to show a page:
// curl accepts all, and is not asked for HTML.
func acceptsHTML(r *http.Request) bool {
	return strings.Contains(strings.ToLower(r.Header.Get("Accept")), "text/html")
}

// page has a page made, for the Viewer that the request is of.
func (h *handler) page(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", pagePolicy)
	if isStatic(r.URL.Path) { // it is for no viewer, and may be kept
		h.Pages.ServeHTTP(w, r)
		return
	}
	v := h.viewer(w, r)
	h.Pages.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), viewerKey{}, v)))
}

// viewer returns the Viewer that a request is of. Its forms' token belongs to its login,
// or to a cookie that it gets here.
func (h *handler) viewer(w http.ResponseWriter, r *http.Request) Viewer {
	v := Viewer{CanAct: true, Actor: h.actor(r), Messages: languageOf(r), LoggedIn: h.loggedIn(r), Flash: takeFlash(w, r)}
	owner := h.formOwner(r)
	if owner == "" {
		owner = session.NewID()
		http.SetCookie(w, cookie(r, formCookie, owner, 0))
	}
	v.CSRF = h.sessions.FormToken(owner)
	return v
}

// formOwner is the cookie that the tokens in a browser's forms belong to, or nothing.
func (h *handler) formOwner(r *http.Request) string {
	name := formCookie
	if h.loggedIn(r) {
		name = sessionCookie
	}
	return cookieOf(r, name)
}

// ourForm reports whether a form was shown to this browser by us, and answers for one
// that was not. A page of another site can have a browser send a form, and an older
// browser does not say which page it was: that page does not know the form's token.
func (h *handler) ourForm(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case !parseForm(w, r):
	case h.foreign.Check(r) != nil:
		crossOrigin(w, r)
	case !h.sessions.CheckForm(h.formOwner(r), r.PostForm.Get("csrf")):
		problem(w, r, http.StatusForbidden, "csrf", "this form is of no page that this browser was shown by this process: load the page anew")
	default:
		return true
	}
	return false
}

// parseForm reads the body of a form, and answers for one that cannot be.
func parseForm(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
	if err := r.ParseForm(); err != nil || r.PostForm == nil {
		problem(w, r, http.StatusBadRequest, "bad_request", "this is no form")
		return false
	}
	return true
}

// IsForeign reports whether a request was made by a page of another site, also one
// that only reads: what costs something must not be had by an image's address.
func IsForeign(r *http.Request) bool {
	post := *r
	post.Method = http.MethodPost // a GET would be let through
	var others http.CrossOriginProtection
	return others.Check(&post) != nil
}

// authorized reports whether a request has the token, comes from a browser whose user
// had it, or over the unix socket.
func (h *handler) authorized(r *http.Request) bool {
	if overSocket(r) {
		return true
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if ok && strings.EqualFold(scheme, "Bearer") {
		return h.isToken(strings.TrimSpace(token))
	}
	return h.loggedIn(r)
}

// isToken compares digests, so that the time it takes tells neither the token nor its
// length.
func (h *handler) isToken(token string) bool {
	want, got := sha256.Sum256([]byte(h.cfg.Token.Reveal())), sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// loggedIn reports whether a request comes with a login that holds.
func (h *handler) loggedIn(r *http.Request) bool {
	return !h.cfg.open() && h.sessions.Valid(cookieOf(r, sessionCookie))
}

// unauthorized answers a request without the token: a browser is shown where it is
// asked for, and comes back from there.
func (h *handler) unauthorized(w http.ResponseWriter, r *http.Request) {
	if reads(r) && acceptsHTML(r) {
		http.Redirect(w, r, "/login?back="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
		return
	}
	challenge(w)
	problem(w, r, http.StatusUnauthorized, "unauthorized", "send the token of [admin] token_file as a bearer token")
}

func challenge(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="pullchain"`)
}

// cookie makes a cookie that no script reads and no other site has sent. It ends with
// the browser, or after life seconds; with less than 0 it ends now.
func cookie(r *http.Request, name, value string, life int) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: life,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	}
}

func cookieOf(r *http.Request, name string) string {
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

// IsLocal reports whether an address is a path of ours, and so one that a page may lead
// back to.
func IsLocal(back string) bool { return back != "" && localPath(back) == back }

// localPath returns back if it is a path of ours, else "/". An address of another
// site must not come out of a link to us: "//evil.example" and "/\evil.example" are
// such for a browser.
func localPath(back string) string {
	u, err := url.Parse(back)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(back, "/") ||
		strings.HasPrefix(back, "//") || strings.ContainsAny(back, "\\\r\n\t") {
		return "/"
	}
	return u.RequestURI()
}
