package admin_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/internal/admin"
)

// doer is an Operator that notes what it is asked for.
type doer struct {
	asked []admin.Action
	err   error
}

func (d *doer) Act(_ context.Context, a admin.Action) (admin.Outcome, error) {
	d.asked = append(d.asked, a)
	return admin.Outcome{Operation: a.Kind, InFlight: 3}, d.err
}

// A formPage is a page that gives its viewer's token away, and what its last form came to.
func formPage(w http.ResponseWriter, r *http.Request) {
	v := admin.ViewerOf(r.Context())
	w.Header().Set("X-Token", v.CSRF)
	if v.Flash != nil {
		w.Header().Set("X-Flash", v.Flash.Text)
	}
}

// A form is done once, comes back to its page, and the page says what became of it.
func TestForms(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, path string
		form       url.Values
		err        error
		lang       string
		want       []admin.Action
		back       string
		flash      string
	}{
		{
			name: "drain", path: "/act/drain", form: url.Values{"registry": {"docker.io"}, "upstream": {"hub"}, "ttl_s": {"900"}, "reason": {"disk"}, "confirm": {" docker.io "}, "back": {"/r/docker.io?window=24h"}},
			want: []admin.Action{{Kind: admin.KindDrain, Registry: "docker.io", Upstream: "hub", TTL: 15 * 60e9, Reason: "disk", Force: true, Actor: "loopback 127.0.0.1"}},
			back: "/r/docker.io?window=24h", flash: "hub of docker.io is drained; 3 requests are still under way.",
		},
		{
			name: "reorder", path: "/act/reorder", form: url.Values{"registry": {"docker.io"}, "order": {"b", "a"}}, lang: "zh",
			want: []admin.Action{{Kind: admin.KindReorder, Registry: "docker.io", Order: []string{"b", "a"}, Actor: "loopback 127.0.0.1"}}, back: "/", flash: "docker.io 的询问顺序已改变。",
		},
		{
			name: "refused", path: "/act/disable", form: url.Values{"registry": {"docker.io"}, "upstream": {"hub"}, "ttl_s": {"900"}, "reason": {"disk"}, "force": {"true"}, "back": {"/r/docker.io"}}, err: admin.ErrLeavesNone("docker.io"),
			want: []admin.Action{{Kind: admin.KindDisable, Registry: "docker.io", Upstream: "hub", TTL: 15 * 60e9, Reason: "disk", Actor: "loopback 127.0.0.1"}},
			back: "/confirm?back=%2Fr%2Fdocker.io&kind=disable&reason=disk&registry=docker.io&ttl_s=900&upstream=hub",
		},
		{
			name: "another name is typed", path: "/act/disable", form: url.Values{"registry": {"docker.io"}, "upstream": {"hub"}, "confirm": {"ghcr.io"}, "back": {"//evil.example/"}},
			back:  "/confirm?back=%2F&kind=disable&reason=&registry=docker.io&ttl_s=&upstream=hub",
			flash: "Not done: what was typed is not the name of the registry.",
		},
		{
			name: "nothing is typed", path: "/act/disable", form: url.Values{"registry": {"docker.io"}, "upstream": {"hub"}, "confirm": {""}},
			back:  "/confirm?back=%2F&kind=disable&reason=&registry=docker.io&ttl_s=&upstream=hub",
			flash: "Not done: what was typed is not the name of the registry.",
		},
		{name: "no number", path: "/act/drain", form: url.Values{"registry": {"docker.io"}, "upstream": {"hub"}, "ttl_s": {"soon"}}, back: "/", flash: "Not done: ttl_s is a number of seconds"},
		{name: "no such action", path: "/act/format_disk", form: url.Values{}, back: "/", flash: "Not done: there is no such action"},
		{name: "another site to come back to", path: "/act/reload", form: url.Values{"back": {"//evil.example/"}}, want: []admin.Action{{Kind: admin.KindReload, Actor: "loopback 127.0.0.1"}}, back: "/", flash: "The configuration was read again, and is in force."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := &doer{err: tt.err}
			h := admin.New(admin.Config{}, admin.Sources{Snapshot: snapshot, Operator: d, Pages: http.HandlerFunc(formPage)})
			page := browse(h, http.MethodGet, "/?lang="+tt.lang, nil, nil)
			tt.form.Set("csrf", page.Header.Get("X-Token"))
			jar := page.Cookies()
			done := browse(h, http.MethodPost, tt.path+"?lang="+tt.lang, tt.form, jar)
			if done.StatusCode != http.StatusSeeOther || done.Header.Get("Location") != tt.back {
				t.Fatalf("%s to %q, want 303 to %q", done.Status, done.Header.Get("Location"), tt.back)
			}
			if diff := cmp.Diff(tt.want, d.asked); diff != "" {
				t.Errorf("asked for (-want +got)\n%s", diff)
			}
			jar = append(jar, done.Cookies()...)
			if part := browse(h, http.MethodGet, "/?fragment=verdict", nil, jar); part.Header.Get("X-Flash") != "" || len(part.Cookies()) > 0 {
				t.Error("the script has taken what is for the reader")
			}
			next := browse(h, http.MethodGet, "/", nil, jar)
			if got := next.Header.Get("X-Flash"); got != tt.flash {
				t.Errorf("the page says %q, want %q", got, tt.flash)
			}
			gone := false
			for _, c := range next.Cookies() {
				gone = gone || c.Name == "pullchain_flash" && c.MaxAge < 0
			}
			if !gone && tt.flash != "" {
				t.Error("it will be said again")
			}
		})
	}
}

// What a page of another site has a browser send is not done.
func TestFormsOfOthers(t *testing.T) {
	t.Parallel()
	d := &doer{}
	h := admin.New(admin.Config{}, admin.Sources{Snapshot: snapshot, Operator: d, Pages: http.HandlerFunc(formPage)})
	page := browse(h, http.MethodGet, "/", nil, nil)
	for name, form := range map[string]url.Values{"no token": {}, "a wrong token": {"csrf": {"x"}}} {
		if got := browse(h, http.MethodPost, "/act/reload", form, page.Cookies()); got.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", name, got.Status)
		}
	}
	if got := browse(h, http.MethodPost, "/act/reload", url.Values{"csrf": {page.Header.Get("X-Token")}}, nil); got.StatusCode != http.StatusForbidden {
		t.Errorf("without the cookie: %s", got.Status)
	}
	if got := browse(h, http.MethodGet, "/act/reload", nil, page.Cookies()); got.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %s", got.Status)
	}
	if len(d.asked) > 0 {
		t.Errorf("done: %+v", d.asked)
	}
}

// browse makes a request as a browser does.
func browse(h http.Handler, method, target string, form url.Values, jar []*http.Cookie) *http.Response {
	r := httptest.NewRequest(method, target, strings.NewReader(form.Encode()))
	r.Host, r.RemoteAddr = "127.0.0.1:5152", "127.0.0.1:40000"
	r.Header.Set("Accept", "text/html")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, c := range jar {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}
