package admin

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"github.com/pullchain/pullchain/internal/admin/session"
	"github.com/pullchain/pullchain/internal/messages"
)

// browserRoutes are where browsers log in and out. They and their pages are for people,
// programs send the token with each request.
var browserRoutes = []route{
	{
		method: http.MethodGet, path: "/login", serve: askLogin, public: true,
		doc: doc{id: "loginPage", about: "The page that asks a browser for the token.", media: "text/html", query: []param{{"back", "string", "the path to go on to"}}},
	},
	{
		method: http.MethodPost, path: "/login", serve: logIn, public: true, form: true,
		doc: doc{
			id: "login", about: "Takes the token of a form and gives a cookie for it. After five wrong ones within a minute an address has to wait.", body: loginForm{},
			media: "text/html", problems: []string{"bad_request", "cross_origin", "not_found"},
		},
	},
	{
		method: http.MethodPost, path: "/logout", serve: logOut, form: true,
		doc: doc{id: "logout", about: "Ends the login of a browser.", body: logoutForm{}, media: "text/html", problems: []string{"bad_request", "cross_origin", "csrf"}},
	},
}

// A loginForm is what a browser sends to log in.
type loginForm struct {
	Token string `json:"token"`
	Back  string `json:"back"` // a path
}

// A logoutForm is what a browser sends to log out.
type logoutForm struct {
	CSRF string `json:"csrf"`
}

//go:embed html
var htmlFiles embed.FS

var templates = template.Must(template.ParseFS(htmlFiles, "html/*.html"))

// A smallPage is what the templates of this package are filled with.
type smallPage struct {
	*messages.Catalogue
	Title string
	Note  string // what was wrong
	Back  string
}

// askLogin shows the page that asks for the token. Without one there is nothing to
// ask for.
func askLogin(h *handler, w http.ResponseWriter, r *http.Request) {
	back := localPath(r.URL.Query().Get("back"))
	if h.cfg.open() || h.loggedIn(r) {
		http.Redirect(w, r, back, http.StatusSeeOther)
		return
	}
	showLogin(h, w, r, http.StatusOK, "", back)
}

func showLogin(h *handler, w http.ResponseWriter, r *http.Request, status int, note, back string) {
	m := languageOf(r)
	show(w, r, status, "login", smallPage{m, m.Text("login.title"), note, back})
}

// logIn takes a token and begins a login.
func logIn(h *handler, w http.ResponseWriter, r *http.Request) {
	switch {
	case h.cfg.open():
		problem(w, r, http.StatusNotFound, "not_found", "there is no token, and so no login")
		return
	case h.foreign.Check(r) != nil:
		crossOrigin(w, r)
		return
	case !parseForm(w, r):
		return
	}
	back, m := localPath(r.PostForm.Get("back")), languageOf(r)
	if wait := h.tries.Wait(addrOf(r)); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		showLogin(h, w, r, http.StatusTooManyRequests, m.Text("login.wait", "wait", Wait(m, wait)), back)
		return
	}
	if !h.isToken(r.PostForm.Get("token")) {
		h.tries.Wrong(addrOf(r))
		challenge(w)
		showLogin(h, w, r, http.StatusUnauthorized, m.Text("login.wrong"), back)
		return
	}
	http.SetCookie(w, cookie(r, sessionCookie, h.sessions.Begin(), int(session.Life.Seconds())))
	http.Redirect(w, r, back, http.StatusSeeOther)
}

// logOut ends a login.
func logOut(h *handler, w http.ResponseWriter, r *http.Request) {
	if !h.ourForm(w, r) {
		return
	}
	h.sessions.End(cookieOf(r, sessionCookie))
	http.SetCookie(w, cookie(r, sessionCookie, "", -1))
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// show answers with a page of this package.
func show(w http.ResponseWriter, r *http.Request, status int, name string, page any) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name+".html", page); err != nil {
		problem(w, r, http.StatusInternalServerError, "internal", "the page cannot be written")
		return
	}
	w.Header().Set("Content-Security-Policy", pagePolicy)
	send(w, r, status, "text/html; charset=utf-8", b.Bytes())
}
