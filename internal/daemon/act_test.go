package daemon_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// A reader of the page drains an upstream, sees that it is done, and takes it back: by
// forms alone, as a browser without a script does.
func TestAdminFormsDrainAndUndo(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Transport: p.client.Transport, Jar: jar}
	base := "http://" + p.Daemon.AdminAddr()
	do := func(req *http.Request, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/html")
		resp, err := browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v\n%s", req.URL, resp.Status, err, body)
		}
		return string(body)
	}
	// post sends the first form of a page that goes to path.
	post := func(page, path string, also url.Values) string {
		t.Helper()
		_, form, ok := strings.Cut(page, `action="`+path+`"`)
		if !ok {
			t.Fatalf("no form for %s on the page", path)
		}
		form, _, _ = strings.Cut(form, "</form>")
		for _, m := range regexp.MustCompile(`name="([a-z_]+)" value="([^"]*)"`).FindAllStringSubmatch(form, -1) {
			also.Add(m[1], m[2])
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+path, strings.NewReader(also.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return do(req, nil)
	}
	registry := p.Daemon.Snapshot().Registries[0].Registry
	page := do(http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/r/"+registry+"/u/a", nil))
	page = post(page, "/act/drain", url.Values{"ttl_s": {"900"}, "reason": {"a disk"}})
	if !strings.Contains(page, "a of "+registry+" is drained") || !strings.Contains(page, "data-toast") {
		t.Fatalf("the page does not say what was done:\n%s", page)
	}
	if got := p.Daemon.Snapshot().Overrides; len(got) != 1 || got[0].Reason != "a disk" || got[0].Upstream != "a" {
		t.Fatalf("overrides %+v", got)
	}
	page = post(page, "/act/enable", url.Values{}) // the toast's
	if !strings.Contains(page, "a of "+registry+" is back") {
		t.Errorf("the page does not say that it was taken back:\n%s", page)
	}
	if got := p.Daemon.Snapshot().Overrides; len(got) != 0 {
		t.Errorf("overrides %+v", got)
	}
}
