package dashboard_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/dashboard"
	"github.com/pullchain/pullchain/internal/golden"
)

// careful is an operator that leaves no registry without an upstream unless it is forced.
type careful struct{ done []admin.Action }

func (c *careful) Act(_ context.Context, a admin.Action) (admin.Outcome, error) {
	if !a.Force {
		return admin.Outcome{}, admin.ErrLeavesNone(a.Registry)
	}
	c.done = append(c.done, a)
	return admin.Outcome{}, nil
}

// submit sends the form of a page that goes to action, with what is typed into it.
func submit(t *testing.T, h http.Handler, page answer, jar []*http.Cookie, action string, typed url.Values) *http.Response {
	t.Helper()
	var form *html.Node
	for _, f := range elements(page.tree, "form") {
		if attr(f, "action") == action {
			form = f
		}
	}
	if form == nil {
		t.Fatalf("no form for %s in\n%s", action, text(page.tree))
	}
	values := url.Values{}
	for _, n := range elements(form, "input") {
		if attr(n, "type") == "hidden" {
			values.Add(attr(n, "name"), attr(n, "value"))
		}
	}
	for name, v := range typed {
		values[name] = v
	}
	r := httptest.NewRequest(http.MethodPost, action, strings.NewReader(values.Encode()))
	r.Host = "127.0.0.1:5152"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range jar {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// cornered is a daemon whose docker.io has one upstream that may be asked for a tag.
func cornered() admin.Snapshot {
	s := troubled()
	lanes := s.Registries[0].Lanes
	lanes[1].Eligible, lanes[1].InFlight = true, 3
	lanes[2].Eligible, lanes[2].Trust = true, "pull"
	return s
}

// The last upstream of a registry is taken out by a page that says what then happens, and
// for the registry's name; and all of it works without a script.
func TestTheLastUpstreamIsAskedFor(t *testing.T) {
	t.Parallel()
	from, operator := sources(cornered), &careful{}
	from.Operator = operator
	from.Pages = dashboard.New(from)
	h := admin.New(admin.Config{}, from)
	const lane = "/r/docker.io/u/cf-worker"
	page := get(t, h, lane)
	jar := page.Cookies()
	asked := submit(t, h, page, jar, "/act/drain", url.Values{"ttl_s": {"900"}, "reason": {"disk <b>"}})
	at := asked.Header.Get("Location")
	if asked.StatusCode != http.StatusSeeOther || !strings.HasPrefix(at, "/confirm?") || len(operator.done) > 0 {
		t.Fatalf("%s to %s, done %v", asked.Status, at, operator.done)
	}
	cookies := func() string {
		var all []string
		for _, c := range jar {
			all = append(all, c.Name+"="+c.Value)
		}
		return strings.Join(all, "; ")
	}
	for _, lang := range []string{"en", "zh"} {
		golden.Compare(t, "testdata/confirm-"+lang+".txt", text(elements(get(t, h, at+"&lang="+lang, "Cookie", cookies()).tree, "main")[0]))
	}
	page = get(t, h, at, "Cookie", cookies())
	if strings.Contains(page.body, "http-equiv=\"refresh\"") {
		t.Error("what is typed would be lost when the page loads itself anew")
	}
	wrong := submit(t, h, page, jar, "/act/drain", url.Values{"confirm": {"docker"}})
	if got := wrong.Header.Get("Location"); got != at || len(operator.done) > 0 {
		t.Errorf("a wrong name leads to %s, want %s; done %v", got, at, operator.done)
	}
	right := submit(t, h, page, jar, "/act/drain", url.Values{"confirm": {"docker.io"}})
	if got := right.Header.Get("Location"); got != lane || len(operator.done) != 1 {
		t.Fatalf("the right name leads to %s, done %v", got, operator.done)
	}
	if a := operator.done[0]; !a.Force || a.Kind != admin.KindDrain || a.Upstream != "cf-worker" || a.TTL.Seconds() != 900 || a.Reason != "disk <b>" {
		t.Errorf("done %+v", a)
	}
}

// An upstream that has come back before the reader has decided is said to have.
func TestConfirmPageSeesOneComeBack(t *testing.T) {
	t.Parallel()
	got := get(t, asOperator(func() admin.Snapshot {
		s := cornered()
		s.Registries[0].Lanes[0].Eligible = true
		return s
	}), "/confirm?kind=disable&registry=docker.io&upstream=cf-worker")
	if page := text(got.tree); !strings.Contains(page, "Meanwhile docker-hub may be asked again") || strings.Contains(page, "503") || strings.Contains(page, "no upstream") {
		t.Errorf("got\n%s", page)
	}
}

// A link to the page for something that there is not leads nowhere, and back to no other site.
func TestConfirmPageIsBounded(t *testing.T) {
	t.Parallel()
	h := asOperator(troubled)
	for _, q := range []string{"", "kind=drain&registry=nosuch&upstream=x", "kind=drain&registry=docker.io&upstream=x", "kind=reload&registry=docker.io&upstream=cf-worker", "kind=drain&registry=docker.io&upstream=cf-worker&ttl_s=-1"} {
		if got := get(t, h, "/confirm?"+q); got.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", q, got.Status)
		}
	}
	for _, back := range []string{"https://evil.example/", "//evil.example", "javascript:alert(1)", "/\\evil.example"} {
		if got := get(t, h, "/confirm?kind=drain&registry=docker.io&upstream=cf-worker&back="+url.QueryEscape(back)); strings.Contains(got.body, "evil.example\"") || strings.Contains(got.body, "\"javascript:") {
			t.Errorf("it leads back to %s", back)
		}
	}
	if got := get(t, over(troubled), "/confirm?kind=drain&registry=docker.io&upstream=cf-worker"); got.StatusCode != http.StatusNotFound {
		t.Errorf("for a reader that may not act: %s", got.Status)
	}
}
