package admin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/messages"
)

// browsersAccept is what a browser sends that is to show a page.
const browsersAccept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

// pages answers every page with what its viewer is.
var pages = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	v := admin.ViewerOf(r.Context())
	fmt.Fprintf(w, "page %s csrf=%s actor=%s act=%t login=%t %s", r.URL.Path, v.CSRF, v.Actor, v.CanAct, v.LoggedIn, v.Messages.Text("level.outage"))
})

// locked is a plane that asks for a token.
var locked = admin.Config{Listen: "0.0.0.0:5152", Token: "s3cret"}

// A browser keeps cookies, and says what a browser says.
type browser struct {
	handler http.Handler
	addr    string
	cookies map[string]string
}

func newBrowser(cfg admin.Config, from admin.Sources) *browser {
	from.Snapshot, from.Pages = snapshot, pages
	return &browser{handler: admin.New(cfg, from), addr: "192.0.2.1:1234", cookies: map[string]string{}}
}

// send sends a form, or reads if there is none.
func (b *browser) send(target string, form url.Values, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	if form != nil {
		r = httptest.NewRequest(http.MethodPost, target, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "http://127.0.0.1:5152")
	}
	r.Host, r.RemoteAddr = "127.0.0.1:5152", b.addr
	r.Header.Set("Accept", browsersAccept)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	for i := 0; i < len(header); i += 2 {
		switch {
		case header[i] == "Host":
			r.Host = header[i+1]
		case header[i+1] == "":
			r.Header.Del(header[i])
		default:
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		b.cookies[c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return w
}

// csrf is the token that a page gives this browser for its forms.
func (b *browser) csrf() string {
	if m := regexp.MustCompile(`csrf=(\S+)`).FindStringSubmatch(b.send("/", nil).Body.String()); m != nil {
		return m[1]
	}
	return ""
}

// Pages are for browsers. A person with curl gets the table at the same address.
func TestWhatIsAPage(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, target, accept string
		status               int
		body                 string // is contained
	}{
		{"a browser", "/", browsersAccept, 200, "page / "},
		{"curl", "/", "*/*", 200, "REGISTRY"},
		{"curl that asks for text", "/", "text/plain", 200, "REGISTRY"},
		{"a page, by curl", "/r/docker.io/u/docker-hub", "*/*", 200, "page /r/docker.io/u/docker-hub "},
		{"a badge in a document", "/badge/docker.io.svg", "image/avif,*/*", 200, "page /badge/docker.io.svg "},
		{"a stylesheet", "/assets/style.css", "text/css,*/*;q=0.1", 200, "page /assets/style.css "},
		{"no page, by a browser", "/nope", browsersAccept, 200, "page /nope "},
		{"no page, by curl", "/nope", "*/*", 404, `"code":"not_found"`},
		{"the API, by a browser", "/api/v1/snapshot", browsersAccept, 200, `"schema": 1`},
		{"an action's address in a browser", "/api/v1/cache:evict", browsersAccept, 405, `"code":"method_not_allowed"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newBrowser(admin.Config{}, admin.Sources{}).send(tt.target, nil, "Accept", tt.accept)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.body) {
				t.Errorf("got %d %.200q, want %d with %q", w.Code, w.Body, tt.status, tt.body)
			}
			policy := w.Header().Get("Content-Security-Policy")
			if page := strings.HasPrefix(w.Body.String(), "page "); page != strings.Contains(policy, "default-src 'self'") {
				t.Errorf("a page: %t, its policy: %s", page, policy)
			}
			if policy == "" || w.Header().Get("X-Frame-Options") != "DENY" {
				t.Errorf("headers: %v", w.Header())
			}
		})
	}
}

func TestWithoutPages(t *testing.T) {
	t.Parallel()
	if w := ask(admin.Config{}, snapshot(), "GET", "/r/docker.io", "Accept", browsersAccept); w.Code != 404 {
		t.Errorf("there are no pages: %d %s", w.Code, w.Body)
	}
	if w := ask(admin.Config{}, snapshot(), "GET", "/", "Accept", browsersAccept); !strings.Contains(w.Body.String(), "REGISTRY") {
		t.Errorf("there is no table: %d %s", w.Code, w.Body)
	}
}

func TestViewer(t *testing.T) {
	t.Parallel()
	b := newBrowser(admin.Config{}, admin.Sources{})
	w := b.send("/", nil, "Accept-Language", "zh-CN,zh;q=0.9")
	if body := w.Body.String(); !strings.Contains(body, "actor=loopback 192.0.2.1 act=true login=false") || !strings.Contains(body, messages.In("zh").Text("level.outage")) {
		t.Errorf("the viewer is %q", body)
	}
	set := w.Header().Get("Set-Cookie")
	for _, want := range []string{"; Path=/", "; HttpOnly", "; SameSite=Strict"} {
		if !strings.Contains(set, want) || strings.Contains(set, "Secure") {
			t.Errorf("the cookie is %q, want %q in it, and plain HTTP has none that is Secure", set, want)
		}
	}
	first := b.csrf()
	if first == "" || b.csrf() != first {
		t.Error("the token of one browser changes, so that two tabs spoil each other's forms")
	}
	if other := newBrowser(admin.Config{}, admin.Sources{}); other.csrf() == first {
		t.Error("another process gives the same token")
	}
	if v := admin.ViewerOf(t.Context()); v.CanAct || v.CSRF != "" || v.Messages == nil {
		t.Errorf("outside of a page the viewer is %+v", v)
	}
	if w := b.send("/?lang=en", nil, "Accept-Language", "zh"); !strings.Contains(w.Body.String(), "OUTAGE") {
		t.Errorf("the address asks for English: %s", w.Body)
	}
	b.cookies[admin.LanguageCookie] = "zh"
	if w := b.send("/", nil, "Accept-Language", "en"); strings.Contains(w.Body.String(), "OUTAGE") {
		t.Errorf("the cookie asks for Chinese: %s", w.Body)
	}
}

// With a token a browser logs in once, and out.
func TestLogin(t *testing.T) {
	t.Parallel()
	b := newBrowser(locked, admin.Sources{})
	w := b.send("/r/docker.io?x=1", nil)
	to := w.Header().Get("Location")
	if w.Code != 303 || to != "/login?back=%2Fr%2Fdocker.io%3Fx%3D1" {
		t.Fatalf("without a login: %d to %q", w.Code, to)
	}
	if w := b.send("/assets/style.css", nil); w.Code != 200 {
		t.Errorf("the login page has no style: %d", w.Code)
	}
	w = b.send(to, nil)
	if w.Code != 200 || !strings.Contains(w.Body.String(), `name="back" value="/r/docker.io?x=1"`) || w.Header().Get("Content-Security-Policy") == "" {
		t.Fatalf("the login page: %d %s", w.Code, w.Body)
	}
	if w := b.send("/login", url.Values{"token": {"wrong"}}); w.Code != 401 || !strings.Contains(w.Body.String(), `role="alert"`) {
		t.Errorf("a wrong token: %d %s", w.Code, w.Body)
	}
	w = b.send("/login", url.Values{"token": {"s3cret"}, "back": {"/r/docker.io?x=1"}})
	if w.Code != 303 || w.Header().Get("Location") != "/r/docker.io?x=1" {
		t.Fatalf("the right token: %d to %q", w.Code, w.Header().Get("Location"))
	}
	set := w.Header().Get("Set-Cookie")
	for _, want := range []string{"pullchain_session=", "; Path=/", "; Max-Age=43200", "; HttpOnly", "; SameSite=Strict"} {
		if !strings.Contains(set, want) {
			t.Errorf("the cookie is %q, want %q in it", set, want)
		}
	}
	if w := b.send("/", nil); !strings.Contains(w.Body.String(), "login=true") {
		t.Errorf("logged in: %d %s", w.Code, w.Body)
	}
	if w := b.send("/api/v1/snapshot", nil); w.Code != 200 {
		t.Errorf("the page's script reads: %d", w.Code)
	}
	if w := b.send("/logout", url.Values{"csrf": {"wrong"}}); w.Code != 403 || !strings.Contains(w.Body.String(), `"code":"csrf"`) {
		t.Errorf("logged out by another page: %d %s", w.Code, w.Body)
	}
	kept := b.cookies["pullchain_session"]
	if w := b.send("/logout", url.Values{"csrf": {b.csrf()}}); w.Code != 303 || b.cookies["pullchain_session"] != "" {
		t.Errorf("logout: %d", w.Code)
	}
	b.cookies["pullchain_session"] = kept
	if w := b.send("/", nil); w.Code != 303 {
		t.Errorf("the cookie holds after the logout: %d", w.Code)
	}
}

func TestLoginOverTLS(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(admin.New(locked, admin.Sources{Snapshot: snapshot, Pages: pages}))
	defer s.Close()
	c := s.Client()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := c.PostForm(s.URL+"/login", url.Values{"token": {"s3cret"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 303 || !strings.Contains(resp.Header.Get("Set-Cookie"), "; Secure") {
		t.Errorf("%d, the cookie is %q", resp.StatusCode, resp.Header.Get("Set-Cookie"))
	}
}

// Guessing is slow: five wrong tokens a minute for an address.
func TestLoginIsNotGuessed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBrowser(locked, admin.Sources{})
		for range 5 {
			if w := b.send("/login", url.Values{"token": {"guess"}}); w.Code != 401 {
				t.Fatalf("a guess: %d", w.Code)
			}
		}
		w := b.send("/login", url.Values{"token": {"s3cret"}})
		if w.Code != 429 || w.Header().Get("Retry-After") != "60" || b.cookies["pullchain_session"] != "" {
			t.Errorf("the sixth try: %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
		}
		other := &browser{handler: b.handler, addr: "192.0.2.2:1", cookies: map[string]string{}}
		if w := other.send("/login", url.Values{"token": {"s3cret"}}); w.Code != 303 {
			t.Errorf("another address: %d", w.Code)
		}
		time.Sleep(time.Minute)
		if w := b.send("/login", url.Values{"token": {"s3cret"}}); w.Code != 303 {
			t.Errorf("a minute later: %d", w.Code)
		}
	})
}

// A link to us must not lead to another site, and text in it is text.
func TestLoginLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	for _, back := range []string{"https://evil.example/", "//evil.example/", `/\evil.example`, "/\t/evil.example", "javascript:alert(1)", "evil", "", "/%0d%0aSet-Cookie:x"} {
		b := newBrowser(locked, admin.Sources{})
		w := b.send("/login", url.Values{"token": {"s3cret"}, "back": {back}})
		if to := w.Header().Get("Location"); w.Code != 303 || !regexp.MustCompile(`^/(%0d%0aSet-Cookie:x)?$`).MatchString(to) {
			t.Errorf("back to %q leads to %q", back, to)
		}
	}
	w := newBrowser(locked, admin.Sources{}).send("/login?back="+url.QueryEscape(`/"><script>alert(1)</script>`), nil)
	if strings.Contains(w.Body.String(), "<script") {
		t.Errorf("the page runs what a link says: %s", w.Body)
	}
}

func TestNoTokenNoLogin(t *testing.T) {
	t.Parallel()
	b := newBrowser(admin.Config{}, admin.Sources{})
	if w := b.send("/login?back=/pulls", nil); w.Code != 303 || w.Header().Get("Location") != "/pulls" {
		t.Errorf("there is nothing to ask for: %d %s", w.Code, w.Body)
	}
	if w := b.send("/login", url.Values{"token": {""}}); w.Code != 404 || b.cookies["pullchain_session"] != "" {
		t.Errorf("a login without a token: %d", w.Code)
	}
}

func TestMetricsAndProfiles(t *testing.T) {
	t.Parallel()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "pullchain_up 1\n") })
	tests := []struct {
		name   string
		cfg    admin.Config
		from   admin.Sources
		path   string
		header []string
		status int
		body   string
	}{
		{"metrics", admin.Config{}, admin.Sources{Metrics: metrics}, "/metrics", nil, 200, "pullchain_up 1"},
		{"metrics that there are not", admin.Config{}, admin.Sources{}, "/metrics", nil, 404, "no metrics"},
		{"metrics without the token", locked, admin.Sources{Metrics: metrics}, "/metrics", nil, 401, "unauthorized"},
		{"metrics with the token", locked, admin.Sources{Metrics: metrics}, "/metrics", []string{"Authorization", "Bearer s3cret"}, 200, "pullchain_up 1"},
		{"profiles that are off", admin.Config{}, admin.Sources{}, "/debug/pprof/", nil, 404, "pprof = true"},
		{"one that is off", admin.Config{}, admin.Sources{}, "/debug/pprof/heap", nil, 404, "pprof = true"},
		{"profiles", admin.Config{Pprof: true}, admin.Sources{}, "/debug/pprof/", nil, 200, "goroutine"},
		{"one", admin.Config{Pprof: true}, admin.Sources{}, "/debug/pprof/goroutine?debug=1", nil, 200, "goroutine profile"},
		{"the command line", admin.Config{Pprof: true}, admin.Sources{}, "/debug/pprof/cmdline", nil, 200, "test"},
		{"one for another site", admin.Config{Pprof: true}, admin.Sources{}, "/debug/pprof/goroutine", []string{"Sec-Fetch-Site", "cross-site"}, 403, "cross_origin"},
		{"one without the token", admin.Config{Pprof: true, Token: "s3cret"}, admin.Sources{}, "/debug/pprof/heap", nil, 401, "unauthorized"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, tt.path, nil)
			r.Host = "127.0.0.1"
			for i := 0; i < len(tt.header); i += 2 {
				r.Header.Set(tt.header[i], tt.header[i+1])
			}
			w := httptest.NewRecorder()
			tt.from.Snapshot = snapshot
			admin.New(tt.cfg, tt.from).ServeHTTP(w, r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.body) {
				t.Errorf("got %d %.200q, want %d with %q", w.Code, w.Body, tt.status, tt.body)
			}
		})
	}
}
