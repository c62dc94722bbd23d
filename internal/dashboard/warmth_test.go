package dashboard_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/dashboard"
	"github.com/pullchain/pullchain/internal/golden"
	"github.com/pullchain/pullchain/internal/warm"
)

// What [[warm]] tables fetch stands on the page of the cache: what wants a look first.
func TestWarmPanelReads(t *testing.T) {
	t.Parallel()
	for _, lang := range []string{"en", "zh"} {
		a := get(t, over(healthy), "/cache?fragment=warm&lang="+lang)
		golden.Compare(t, "testdata/warm-"+lang+".txt", text(a.tree))
	}
}

// A plan of very many images is cut, and says so; what failed is not what is cut.
func TestWarmPanelIsBounded(t *testing.T) {
	t.Parallel()
	p := warm.Plan{EveryS: 3600, Next: in(0), Last: &warm.Run{At: now}}
	for i := range 1000 {
		image := fmt.Sprintf("docker.io/library/app:%d", i)
		p.Images = append(p.Images, image)
		p.Last.Images = append(p.Last.Images, warm.Result{Image: image, OK: i != 999, Error: "HTTP 500"})
	}
	from := sources(healthy)
	from.Warm = &ahead{plans: []warm.Plan{p}}
	got := text(get(t, dashboard.New(from), "/cache?fragment=warm").tree)
	if !strings.Contains(got, "app:999") || !strings.Contains(got, "950 more") || !strings.Contains(got, "1 of 1000 images need a look") {
		t.Errorf("got\n%s", got)
	}
	from.Warm = &ahead{}
	if got := get(t, dashboard.New(from), "/cache").body; strings.Contains(got, "warm") {
		t.Error("without a table there is a panel")
	}
}

// The button has all of it fetched now, and the next page says so.
func TestWarmNow(t *testing.T) {
	t.Parallel()
	from, plans := sources(healthy), &ahead{plans: warmPlans()}
	from.Warm = plans
	from.Pages = dashboard.New(from)
	h := admin.New(admin.Config{}, from)
	page := get(t, h, "/cache")
	form := url.Values{}
	for _, f := range elements(page.tree, "form") {
		if attr(f, "action") == "/act/warm" {
			for _, n := range elements(f, "input") {
				form.Set(attr(n, "name"), attr(n, "value"))
			}
		}
	}
	post := func(form url.Values) *http.Response {
		r := httptest.NewRequest(http.MethodPost, "/act/warm", strings.NewReader(form.Encode()))
		r.Host = "127.0.0.1:5152"
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for _, c := range page.Cookies() {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
	if got := post(url.Values{"back": {"/cache"}}); got.StatusCode != http.StatusForbidden || plans.asked != 0 {
		t.Errorf("without its token: %s, asked %d times", got.Status, plans.asked)
	}
	if got := post(form); got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != "/cache" || plans.asked != 1 {
		t.Errorf("%s to %q, asked %d times", got.Status, got.Header.Get("Location"), plans.asked)
	}
}
