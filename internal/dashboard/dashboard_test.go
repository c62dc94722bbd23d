package dashboard_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/dashboard"
	"github.com/pullchain/pullchain/internal/golden"
	"github.com/pullchain/pullchain/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func over(s func() admin.Snapshot) http.Handler {
	return dashboard.New(sources(s))
}

// asOperator is what a browser gets that may act: the pages behind the operator's plane.
func asOperator(s func() admin.Snapshot) http.Handler {
	from := sources(s)
	from.Pages = dashboard.New(from)
	return admin.New(admin.Config{}, from)
}

// What people read, in both languages.
func TestHomeReads(t *testing.T) {
	t.Parallel()
	for name, snapshot := range map[string]func() admin.Snapshot{"healthy": healthy, "troubled": troubled, "dead": dead} {
		for _, lang := range []string{"en", "zh"} {
			t.Run(name+"-"+lang, func(t *testing.T) {
				t.Parallel()
				a := get(t, over(snapshot), "/?lang="+lang)
				golden.Compare(t, "testdata/home-"+name+"-"+lang+".txt", text(a.tree))
			})
		}
	}
}

// pages are all there are, over a daemon that has something for each.
var pages = []string{
	"/", "/nosuch", "/r/docker.io", "/r/docker.io/u/docker-hub", "/r/docker.io/u/docker-hub?window=24h", "/r/docker.io/u/docker-hub?window=24h&view=figures", "/r/nosuch", "/events", "/events?kind=failover&q=alpine", "/cache", "/cache?q=secret",
	"/setup", "/setup?runtime=podman", "/pulls", "/pulls/a1", "/pulls/r1", "/requests/q1", "/requests/q3", "/requests/nosuch", "/clients",
	"/confirm?kind=drain&registry=docker.io&upstream=cf-worker&ttl_s=900&reason=disk&back=/", "/confirm?kind=disable&registry=ghcr.io&upstream=ghcr", "/confirm?kind=format_disk", "/keys",
	"/explain", "/explain?image=alpine:3.20", "/explain?image=alpine:3.20&digests=1", "/explain?image=%3Cb%3E",
}

// maxPage is what a page may weigh without its charts.
const maxPage = 50 << 10

// charts are the pictures of the past.
var charts = regexp.MustCompile(`(?s)<svg class="bar".*?</svg>|<figure class="chart">.*?</figure>`)

func TestPagesAreSound(t *testing.T) {
	t.Parallel()
	for name, snapshot := range map[string]func() admin.Snapshot{"healthy": healthy, "troubled": troubled, "dead": dead} {
		h := asOperator(snapshot)
		for _, path := range pages {
			for _, lang := range []string{"en", "zh"} {
				t.Run(name+path+lang, func(t *testing.T) {
					t.Parallel()
					a := get(t, h, path, "Accept-Language", lang)
					for _, f := range faults(a) {
						t.Error(f)
					}
					if n := len(charts.ReplaceAllString(a.body, "")); n > maxPage {
						t.Errorf("%d bytes, more than %d", n, maxPage)
					}
					if regexp.MustCompile(`\b(dash|setup|act|state|why)\.[a-z_]`).MatchString(text(a.tree)) || strings.Contains(a.body, "ZgotmplZ") {
						t.Errorf("a key without a text, or a value that no template takes:\n%s", a.body)
					}
				})
			}
		}
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	a := get(t, over(healthy), "/")
	got := a.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
		if !strings.Contains(got, want) {
			t.Errorf("Content-Security-Policy %q, without %q", got, want)
		}
	}
	if strings.Contains(got, "unsafe") {
		t.Errorf("Content-Security-Policy %q", got)
	}
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
}

// Names come from a configuration and errors from upstreams: neither becomes markup.
func TestForeignTextIsText(t *testing.T) {
	t.Parallel()
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}` + "\x1b[2J\u202e"
	h := over(func() admin.Snapshot {
		s := troubled()
		s.Version, s.Config.LastReloadError, s.Config.Source, s.Listen, s.Cache.Trouble = evil, evil, evil, evil, evil
		for i := range s.Registries {
			r := &s.Registries[i]
			r.Registry += evil
			for j := range r.Lanes {
				r.Lanes[j].Upstream, r.Lanes[j].Code, r.Lanes[j].Error, r.Lanes[j].Via = evil, evil, evil, evil
				if q := r.Lanes[j].Quota; q != nil {
					q.Source = evil
				}
			}
			for j := range r.Failovers {
				f := &r.Failovers[j]
				f.From, f.To, f.Code, f.Image = evil, evil, evil, evil
			}
			for j := range r.Served {
				r.Served[j].Upstream = evil
			}
		}
		return s
	})
	for _, path := range pages {
		a := get(t, h, hostile(path))
		for _, f := range faults(a) {
			t.Errorf("%s: %s", path, f)
		}
		for _, n := range elements(a.tree, "img") {
			t.Errorf("%s: foreign text has become an element: %s", path, render(n))
		}
		if strings.ContainsAny(a.body, "\x1b\u202e") {
			t.Errorf("%s: a control character got through", path)
		}
	}
}

// hostile is an address with markup in its query.
func hostile(path string) string {
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	return path + sep + "lang=zh&x=%22%3E%3Cscript%3E&q=%22%3E%3Cimg%3E"
}

func TestLanguage(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, query, cookie, accept, want string }{
		{"nothing is said", "", "", "", "en"},
		{"as the browser prefers", "", "", "zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"},
		{"the first that we have", "", "", "fr, en;q=0.8, zh;q=0.5", "en"},
		{"the cookie stands above the browser", "", "pullchain_lang=zh", "en", "zh-CN"},
		{"the address stands above all", "?lang=en", "pullchain_lang=zh", "zh", "en"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := get(t, over(healthy), "/"+tt.query, "Cookie", tt.cookie, "Accept-Language", tt.accept)
			if got := attr(elements(a.tree, "html")[0], "lang"); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// The page comes in the right colours at once, and the choice is kept.
func TestTheme(t *testing.T) {
	t.Parallel()
	h := over(healthy)
	a := get(t, h, "/?theme=dark")
	if got := attr(elements(a.tree, "html")[0], "data-theme"); got != "dark" {
		t.Errorf("theme %q", got)
	}
	var kept string
	for _, c := range a.Cookies() {
		kept += c.Name + "=" + c.Value
	}
	if kept != "pullchain_theme=dark" {
		t.Fatalf("cookies %q", kept)
	}
	a = get(t, h, "/", "Cookie", kept)
	if got := attr(elements(a.tree, "html")[0], "data-theme"); got != "dark" {
		t.Errorf("with the cookie: theme %q", got)
	}
	a = get(t, h, "/?theme=%22evil")
	if got := attr(elements(a.tree, "html")[0], "data-theme"); got != "auto" {
		t.Errorf("a theme that there is not: %q", got)
	}
}

// The script asks for parts of a page by name, and gets what the page has.
func TestFragments(t *testing.T) {
	t.Parallel()
	h := over(troubled)
	whole := get(t, h, "/").body
	part := get(t, h, "/?fragment=verdict,failovers").body
	if strings.Contains(part, "<html") || strings.Contains(part, "<head") {
		t.Errorf("not a part:\n%s", part)
	}
	for _, id := range []string{`id="verdict"`, `id="failovers"`} {
		if !strings.Contains(part, id) {
			t.Errorf("no %s in\n%s", id, part)
		}
	}
	for panel := range strings.SplitSeq(part, "</section>") {
		if !strings.Contains(whole, strings.TrimSpace(panel)) {
			t.Errorf("the part is not as on the page:\n%s", panel)
		}
	}
	if got := get(t, h, "/?fragment=nosuch,verdict").body; got != "" {
		t.Errorf("an unknown part: %q", got)
	}
}

// Each part that the script keeps up to date can be had alone, as it is on its page.
func TestEveryPanelIsAPart(t *testing.T) {
	t.Parallel()
	h := over(troubled)
	for _, path := range pages {
		for _, n := range elements(get(t, h, path).tree, "") {
			if !has(n, "data-panel") {
				continue
			}
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			part := get(t, h, path+sep+"fragment="+attr(n, "data-panel"))
			if part.StatusCode != http.StatusOK && part.StatusCode != http.StatusNotFound && part.StatusCode != http.StatusBadRequest {
				t.Errorf("%s, %s: %s\n%s", path, attr(n, "data-panel"), part.Status, part.body)
			}
			alone := elements(part.tree, n.Data)
			if len(alone) == 0 || render(alone[0]) != render(n) {
				t.Errorf("%s: %s is another alone:\n%s\n%s", path, attr(n, "data-panel"), part.body, render(n))
			}
		}
	}
}

func TestAssets(t *testing.T) {
	t.Parallel()
	h := over(healthy)
	page := get(t, h, "/")
	limits := map[string]int{"style.css": 6 << 10, "live.js": 5 << 10, "icon-ok.svg": 1 << 10} // as they are sent
	found := 0
	for _, n := range append(elements(page.tree, "link"), elements(page.tree, "script")...) {
		target := attr(n, "href") + attr(n, "src")
		a := get(t, h, target, "Accept-Encoding", "gzip")
		if a.StatusCode != http.StatusOK || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %s, Cache-Control %q", target, a.Status, a.Header.Get("Cache-Control"))
		}
		for name, limit := range limits {
			if strings.Contains(target, name) {
				if found++; len(a.body) > limit {
					t.Errorf("%s has %d bytes, more than %d", name, len(a.body), limit)
				}
			}
		}
	}
	if found != len(limits) {
		t.Errorf("%d of %d assets are on the page", found, len(limits))
	}
	if a := get(t, h, "/assets/style.css"); a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("without its content in the address it is kept: %q", a.Header.Get("Cache-Control"))
	}
	if a := get(t, h, "/assets/..%2fdashboard.go"); a.StatusCode != http.StatusNotFound {
		t.Errorf("another file: %s", a.Status)
	}
}

// The tab tells the level without being looked at.
func TestTitleAndIconFollowTheLevel(t *testing.T) {
	t.Parallel()
	for level, snapshot := range map[string]func() admin.Snapshot{"ok": healthy, "degraded": troubled, "outage": dead} {
		a := get(t, over(snapshot), "/")
		var icon string
		for _, n := range elements(a.tree, "link") {
			if attr(n, "rel") == "icon" {
				icon = attr(n, "href")
			}
		}
		if !strings.HasPrefix(icon, "/assets/icon-"+level+".svg") {
			t.Errorf("%s: icon %s", level, icon)
		}
		heading, title := strings.TrimSpace(text(elements(a.tree, "h1")[0])), text(elements(a.tree, "title")[0])
		if !strings.Contains(title, heading) {
			t.Errorf("%s: title %q without %q", level, title, heading)
		}
	}
}

// A chain whose third path serves while the first two wait their turn is in order, and
// not on its first path.
func TestTheServingPathIsNamed(t *testing.T) {
	t.Parallel()
	a := get(t, over(func() admin.Snapshot {
		s := healthy()
		lanes := s.Registries[0].Lanes
		lanes[0].State, lanes[2].State = lanes[2].State, lanes[0].State
		return s
	}), "/")
	if row := elements(a.tree, "tbody")[0].FirstChild; !strings.Contains(text(row.NextSibling), "docker.io path 3") {
		t.Errorf("the first row is\n%s", text(row.NextSibling))
	}
}
