package admin_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/dashboard"
)

// attack sends a request to a plane that has everything and asks for a token if that is
// in cfg, and returns the answer with what was done by it.
func attack(cfg admin.Config, method, target, body string, header ...string) (w *httptest.ResponseRecorder, done int) {
	from := rich()
	operator, kept, demo := &fakeOperator{}, &fakeCache{}, &fakeDemo{fault: admin.NoFault}
	from.Operator, from.Cache, from.Demo = operator, kept, demo
	from.Pages = dashboard.New(from)
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host, r.RemoteAddr = "127.0.0.1:5152", "127.0.0.1:40000"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	w = httptest.NewRecorder()
	admin.New(cfg, from).ServeHTTP(w, r)
	done = len(operator.done)
	for _, what := range kept.done {
		if !strings.HasPrefix(what, "list") {
			done++
		}
	}
	if demo.fault != admin.NoFault {
		done++
	}
	return w, done
}

// pathOf is an address that a route answers.
func pathOf(r admin.RouteDoc) string {
	path := strings.NewReplacer("{registry}", "docker.io", "{upstream}", "hub", "{kind}", "drain", "{profile}", "heap", "{id}", "1").Replace(r.Path)
	if r.ID == "events" {
		path += "?follow=false"
	}
	return path
}

// TestAttackCSRF: a page of another site can have a browser send a form, or text that
// looks like JSON. It cannot read our pages, so it has no form's token.
func TestAttackCSRF(t *testing.T) {
	t.Parallel()
	form := url.Values{"registry": {"docker.io"}, "upstream": {"hub"}, "csrf": {"guess"}, "what": {"alpine"}, "fault": {"stall"}}.Encode()
	const body = `{"registry":"docker.io","upstream":"hub","what":"alpine"}`
	for _, r := range admin.RouteDocs() {
		if r.Method != http.MethodPost {
			continue
		}
		for name, header := range map[string][]string{
			"a form":                            {"Content-Type", "application/x-www-form-urlencoded"},
			"a form of another site":            {"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"},
			"a form of an older browser":        {"Content-Type", "application/x-www-form-urlencoded", "Origin", "https://evil.example"},
			"a form of another port":            {"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:8080"},
			"text that looks like JSON":         {"Content-Type", "text/plain"},
			"JSON of another site":              {"Content-Type", "application/json", "Sec-Fetch-Site", "cross-site"},
			"JSON from nowhere, as a sandbox":   {"Content-Type", "application/json", "Origin", "null"},
			"a form with a cookie of its own":   {"Content-Type", "application/x-www-form-urlencoded", "Cookie", "pullchain_form=guess"},
			"a form with an invented session":   {"Content-Type", "application/x-www-form-urlencoded", "Cookie", "pullchain_session=guess"},
			"a form in parts, as files come in": {"Content-Type", "multipart/form-data; boundary=x"},
		} {
			text := form
			if !strings.Contains(header[1], "form") {
				text = body
			}
			w, done := attack(admin.Config{}, r.Method, pathOf(r), text, header...)
			if done > 0 || w.Code < 400 {
				t.Errorf("%s %s, %s: %d, and %d things were done", r.Method, r.Path, name, w.Code, done)
			}
		}
	}
}

// TestAttackRebinding: a page whose name was made to resolve to this machine asks as if
// we were its own site.
func TestAttackRebinding(t *testing.T) {
	t.Parallel()
	for _, r := range admin.RouteDocs() {
		for _, host := range []string{"evil.example", "evil.example:5152", "127.0.0.1.evil.example", "localhost.evil.example:5152", ""} {
			w, done := attack(admin.Config{}, r.Method, pathOf(r), "{}", "Host", host, "Content-Type", "application/json", "Sec-Fetch-Site", "same-origin")
			if w.Code != http.StatusMisdirectedRequest || done > 0 {
				t.Errorf("%s %s by the name %q: %d", r.Method, r.Path, host, w.Code)
			}
		}
	}
	for _, page := range []string{"/", "/r/docker.io", "/events", "/assets/style.css"} {
		if w, _ := attack(admin.Config{}, "GET", page, "", "Host", "evil.example", "Accept", browsersAccept); w.Code != http.StatusMisdirectedRequest {
			t.Errorf("the page %s: %d", page, w.Code)
		}
	}
}

// TestAttackGET: an image's address, a link, or a browser that loads pages ahead changes
// nothing.
func TestAttackGET(t *testing.T) {
	t.Parallel()
	gets := map[string]bool{}
	for _, r := range admin.RouteDocs() {
		gets[r.Path] = gets[r.Path] || r.Method == http.MethodGet
	}
	for _, r := range admin.RouteDocs() {
		for _, method := range []string{"GET", "HEAD"} {
			w, done := attack(admin.Config{}, method, pathOf(r), "")
			if done > 0 {
				t.Errorf("%s %s has done something", method, r.Path)
			}
			if !gets[r.Path] && (w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST") {
				t.Errorf("%s %s: %d, allowed is %q", method, r.Path, w.Code, w.Header().Get("Allow"))
			}
		}
	}
}

// TestAttackToken: without the token there is nothing to be had but health and the way
// to log in.
func TestAttackToken(t *testing.T) {
	t.Parallel()
	for _, r := range admin.RouteDocs() {
		if r.Public {
			continue
		}
		for _, header := range [][]string{
			{}, {"Authorization", "Bearer wrong"}, {"Authorization", "Bearer "}, {"Authorization", "Basic czNjcmV0"},
			{"Cookie", "pullchain_session=s3cret"}, {"Authorization", "Bearer s3cret,"},
		} {
			w, done := attack(locked, r.Method, pathOf(r), "{}", append(header, "Content-Type", "application/json")...)
			if w.Code != http.StatusUnauthorized || done > 0 || strings.Contains(w.Body.String(), "docker.io") {
				t.Errorf("%s %s with %v: %d %.100s", r.Method, r.Path, header, w.Code, w.Body)
			}
		}
	}
	for _, page := range []string{"/", "/r/docker.io", "/badge/docker.io.svg", "/nope"} {
		if w, _ := attack(locked, "GET", page, "", "Accept", browsersAccept); w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), "/login?") {
			t.Errorf("the page %s: %d", page, w.Code)
		}
	}
}

// TestAttackStream: a page of another site neither reads what happens nor takes the
// places of those that do, and is allowed nothing by CORS.
func TestAttackStream(t *testing.T) {
	t.Parallel()
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
		{"Origin", "http://127.0.0.1:8080"},
	} {
		w, _ := attack(admin.Config{}, "GET", "/api/v1/events?follow=false", "", header...)
		if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "cross_origin") {
			t.Errorf("%v: %d %.100s", header, w.Code, w.Body)
		}
	}
	for _, header := range [][]string{{}, {"Sec-Fetch-Site", "same-origin"}, {"Origin", "http://127.0.0.1:5152"}} {
		if w, _ := attack(admin.Config{}, "GET", "/api/v1/events?follow=false", "", header...); w.Code != http.StatusOK {
			t.Errorf("our own page, %v: %d", header, w.Code)
		}
	}
	for _, r := range admin.RouteDocs() {
		for _, method := range []string{r.Method, "OPTIONS"} {
			w, _ := attack(admin.Config{}, method, pathOf(r), "", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST")
			for name := range w.Header() {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s %s answers with %s", method, r.Path, name)
				}
			}
		}
	}
}

// evil is text from elsewhere that would run in a page, end an attribute, or steer a
// terminal.
const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>` + "\x1b]0;owned\a\x1b[2J"

// poisoned is a daemon whose upstreams, clients and images are called evil.
func poisoned() admin.Sources {
	from := rich()
	from.Snapshot = func() admin.Snapshot {
		s := snapshot()
		for i := range s.Registries {
			r := &s.Registries[i]
			for j := range r.Lanes {
				l := &r.Lanes[j]
				l.Error, l.TLSIssuer = evil, evil
				l.LastError = &balancer.ErrorSnapshot{At: now, Code: "http_5xx", Status: 500, Text: evil}
				if l.Quota != nil {
					l.Quota.Source = evil
				}
			}
			for j := range r.Failovers {
				r.Failovers[j].Image = "docker.io/" + evil
			}
		}
		s.Config.LastReloadError, s.Cache.Trouble = evil, evil
		return s
	}
	from.Cache = &fakeCache{entries: []cache.Entry{{Images: []string{evil}, MediaType: evil}}}
	from.Pages = dashboard.New(from)
	return from
}

// TestAttackText: what upstreams, clients and images say is text in every page.
func TestAttackText(t *testing.T) {
	t.Parallel()
	h := admin.New(admin.Config{}, poisoned())
	for _, path := range []string{"/", "/r/docker.io", "/r/docker.io/u/docker-hub", "/events", "/cache?q=" + url.QueryEscape(evil), "/clients", "/pulls", "/explain?image=" + url.QueryEscape(evil), "/login?back=" + url.QueryEscape("/"+evil), "/" + url.PathEscape(evil)} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Host = "127.0.0.1:5152"
		r.Header.Set("Accept", browsersAccept)
		r.Header.Set("User-Agent", evil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if strings.Contains(w.Body.String(), "<script>alert") || strings.Contains(w.Body.String(), "<img src=x") {
			t.Errorf("%.40s runs what it was told", path)
		}
		if policy := w.Header().Get("Content-Security-Policy"); strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%.40s: the policy %q", path, policy)
		}
	}
}

// TestAttackTerminal: what goes to a terminal has no control characters in it but line
// ends.
func TestAttackTerminal(t *testing.T) {
	t.Parallel()
	h := admin.New(admin.Config{}, poisoned())
	for _, path := range []string{"/", "/?lang=zh", "/-/readyz?registry=quay.io"} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Host = "127.0.0.1:5152"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if strings.ContainsAny(w.Body.String(), "\x1b\a\r\u009b") {
			t.Errorf("%s steers the terminal: %q", path, w.Body)
		}
	}
}
