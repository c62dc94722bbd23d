//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/pullchain/pullchain/internal/simnet"
)

// A dashboardRig is a daemon with two upstreams for docker.io, which a browser looks at
// through a way that can be cut.
type dashboardRig struct {
	*world
	d      *daemon
	spare  *simnet.Hub
	way    *cutter
	mirror string
	n      int
}

func newDashboardRig(t *testing.T, tag string) *dashboardRig {
	t.Helper()
	program := buildDaemon(t)
	origin := startOrigin(t)
	ns := newNamespace(t)
	img := newImage(t, tag)
	origin.push(t, img)
	w := newWorld(t, origin, img)
	spare := w.addHub(t, "spare", simnet.Quota{Limit: 100})
	other := upstream{name: "cf-worker", url: spare.URL(), caFile: w.caFile}
	d := startDaemon(t, program, ns, daemonSetup{chain: []upstream{w.direct(), other}, warm: "docker.io/" + img.name()})
	d.ready(t)
	wantPull(t, startCrane(t, ns), origin, img)
	return &dashboardRig{world: w, d: d, spare: spare, way: startCutter(t, d.admin), mirror: "http://" + ns.mirror()}
}

// failover asks for something that the first upstream answers with 503, so that the
// second one serves.
func (r *dashboardRig) failover(t *testing.T) {
	t.Helper()
	r.n++
	defer r.hub.Inject(simnet.Fault{On: simnet.Tags, Status: http.StatusServiceUnavailable})()
	at := fmt.Sprintf("%s/v2/%s/tags/list?n=%d", r.mirror, r.image.repository, 100+r.n)
	if res := do(t, http.MethodGet, at, nil, nil); res.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s", at, res.Status)
	}
	// One breaker must not make the next failover look another way.
	r.d.wantSays(t, 0, nil, "upstream", "reset", "docker.io/docker-hub")
}

// The pages of the dashboard.
func (r *dashboardRig) pages() map[string]string {
	return map[string]string{
		"home": "/", "registry": "/r/docker.io", "upstream": "/r/docker.io/u/docker-hub", "pulls": "/pulls",
		"clients": "/clients", "cache": "/cache", "events": "/events", "setup": "/setup",
		"explain": query("/explain", "image", "docker.io/"+r.image.name()),
		"figures": "/r/docker.io/u/docker-hub?view=figures", "keys": "/keys",
		"confirm": query("/confirm", "kind", "drain", "registry", "docker.io", "upstream", "docker-hub", "ttl_s", "900"),
	}
}

// TestDashboardIsLive shows a failover on the page that is open, and goes on where it was
// after its stream was cut: nothing that happened meanwhile is missing.
func TestDashboardIsLive(t *testing.T) {
	t.Parallel()
	r := newDashboardRig(t, "live")
	p := startBrowser(t).open(t, r.way.url(), tabSetup{})
	p.run(t, chromedp.Navigate(r.way.url()+"/events?kind=failover"))
	p.waitFor(t, "live", `document.querySelector("#live.on") !== null`)
	const lines = `document.querySelectorAll("#events li").length`

	began := time.Now()
	r.failover(t)
	p.waitFor(t, "the failover is shown", lines+" === 1")
	t.Logf("a failover, and shown %v after it was provoked", time.Since(began).Round(time.Millisecond))

	r.way.set(true)
	p.waitFor(t, "the stream is lost", `document.querySelector("#live.on") === null`)
	for range 3 {
		r.failover(t)
	}
	r.way.set(false)
	p.waitFor(t, "the stream is back", `document.querySelector("#live.on") !== null`)
	p.waitFor(t, "all four failovers are shown", lines+" === 4")
	r.failover(t)
	p.waitFor(t, "and what comes then", lines+" === 5")
	p.quiet(t, "the page of events")
}

// TestDashboardActs takes an upstream out by the form of its page, and back in by undo.
func TestDashboardActs(t *testing.T) {
	t.Parallel()
	r := newDashboardRig(t, "acts")
	p := startBrowser(t).open(t, r.way.url(), tabSetup{})
	p.run(t, chromedp.Navigate(r.way.url()+"/r/docker.io/u/docker-hub"))
	p.run(t, chromedp.Click(`form[action="/act/drain"] summary`, chromedp.ByQuery), chromedp.Click(`form[action="/act/drain"] button`, chromedp.ByQuery))
	p.waitFor(t, "drained", `document.querySelector(".state .s-drained") !== null`)
	p.shot(t, "drained")
	r.d.wantSays(t, 0, []string{"drained"}, "status")
	p.run(t, chromedp.Click(`.toast form button`, chromedp.ByQuery))
	p.waitFor(t, "back", `document.querySelector(".state .s-serving") !== null`)
	p.quiet(t, "the page of an upstream")
}

// TestDashboardConfirms takes out the last upstream that may be asked: for the registry's
// name, and for no other.
func TestDashboardConfirms(t *testing.T) {
	t.Parallel()
	r := newDashboardRig(t, "confirms")
	r.d.wantSays(t, 0, nil, "upstream", "drain", "docker.io/cf-worker")
	p := startBrowser(t).open(t, r.way.url(), tabSetup{})
	p.run(t, chromedp.Navigate(r.way.url()+"/r/docker.io/u/docker-hub"))
	p.run(t, chromedp.Click(`form[action="/act/disable"] summary`, chromedp.ByQuery), chromedp.SendKeys(`form[action="/act/disable"] [name=reason]`, "a test"), chromedp.Click(`form[action="/act/disable"] button`, chromedp.ByQuery))
	p.waitFor(t, "asked once more", `location.pathname === "/confirm" && document.querySelector("[name=confirm]") !== null`)
	p.accessible(t, "the page that asks")
	r.d.wantSays(t, 0, []string{"serving"}, "status")
	const field, button = `[name=confirm]`, `.confirm button`
	p.run(t, chromedp.SendKeys(field, "docker"), chromedp.Click(button, chromedp.ByQuery))
	p.waitFor(t, "refused", `document.querySelector(".toast.n-critical") !== null`)
	p.shot(t, "confirm-refused")
	r.d.wantSays(t, 0, []string{"serving"}, "status")
	p.run(t, chromedp.SendKeys(field, "docker.io"), chromedp.Click(button, chromedp.ByQuery))
	p.waitFor(t, "disabled", `location.pathname === "/r/docker.io/u/docker-hub" && document.querySelector(".state .s-disabled") !== null`)
	r.d.wantSays(t, 0, []string{"disabled"}, "status")
	p.quiet(t, "the page that asks")
}

// TestDashboardKeys goes through a bar of the past by arrow keys, also while the server
// puts a new one in its place, and to another page by two letters.
func TestDashboardKeys(t *testing.T) {
	t.Parallel()
	r := newDashboardRig(t, "keys")
	p := startBrowser(t).open(t, r.way.url(), tabSetup{})
	p.run(t, chromedp.Navigate(r.way.url()+"/r/docker.io/u/docker-hub"))
	const bar = `document.querySelector("[data-key=bar-1h]")`
	p.waitFor(t, "the script is there", bar+`.getAttribute("role") === "slider"`)
	p.run(t, chromedp.Evaluate(bar+".focus()", nil), chromedp.KeyEvent(kb.ArrowLeft), chromedp.KeyEvent(kb.ArrowLeft), chromedp.KeyEvent(kb.ArrowRight))
	p.waitFor(t, "one before the last", bar+`.getAttribute("aria-valuenow") === "59"`)
	const read = `document.querySelector("#lane-past .read").textContent`
	if text := evaluate[string](t, p, read); text == "" || text != evaluate[string](t, p, bar+`.getAttribute("aria-valuetext")`) {
		t.Errorf("what is read out is %q", text)
	}
	p.accessible(t, "a cell of a bar")
	p.shot(t, "bar-cell")
	p.run(t, chromedp.Evaluate(`document.querySelector("#lane-past-h").textContent = "old"`, nil))
	p.waitFor(t, "the part is made anew", `document.querySelector("#lane-past-h").textContent !== "old"`)
	if !evaluate[bool](t, p, `document.activeElement === `+bar) || evaluate[string](t, p, bar+`.getAttribute("aria-valuenow")`) != "59" {
		t.Error("the reader's place is lost when the part is made anew")
	}
	p.run(t, chromedp.KeyEvent(kb.Home))
	p.waitFor(t, "the first", bar+`.getAttribute("aria-valuenow") === "1"`)

	p.run(t, chromedp.KeyEvent("?"))
	p.waitFor(t, "the list of keys", `document.querySelector("dialog").open`)
	p.accessible(t, "the list of keys")
	p.shot(t, "keys-dialog")
	p.run(t, chromedp.KeyEvent(kb.Escape))
	p.waitFor(t, "closed", `!document.querySelector("dialog").open`)

	p.run(t, chromedp.Navigate(r.way.url()+"/r/docker.io"))
	p.waitFor(t, "the script is there", bar+`.getAttribute("role") === "slider"`)
	p.run(t, chromedp.Evaluate(bar+".focus()", nil), chromedp.KeyEvent(kb.PageDown))
	p.waitFor(t, "ten cells back in the past of a registry", bar+`.getAttribute("aria-valuenow") === "50" && document.querySelector("#registry .read").textContent !== ""`)
	p.run(t, chromedp.KeyEvent("g"), chromedp.KeyEvent("c"))
	p.waitFor(t, "the cache", `location.pathname === "/cache" && document.querySelector("#warm") !== null`)
	p.run(t, chromedp.Click(`form[action="/act/warm"] button`, chromedp.ByQuery))
	p.waitFor(t, "an image is fetched ahead of need, and one is not there", `document.querySelector("#warm .c-none") !== null && document.querySelector("#warm tbody .c-ok") !== null`)
	p.accessible(t, "what is fetched ahead of need")
	p.shot(t, "warm")

	p.run(t, chromedp.Navigate(r.way.url()+"/keys?keys=off"))
	p.run(t, chromedp.WaitVisible("main h1", chromedp.ByQuery), chromedp.KeyEvent("?"), chromedp.KeyEvent("g"), chromedp.KeyEvent("c"))
	if evaluate[bool](t, p, `document.querySelector("dialog").open || location.pathname !== "/keys"`) {
		t.Error("keys that are switched off do something")
	}
	p.quiet(t, "keys")
}

// TestDashboardPages renders each page as people may have it: with and without scripts, in
// light and dark, in both languages, on a phone; and has the accessibility checker look
// at it.
func TestDashboardPages(t *testing.T) {
	t.Parallel()
	r := newDashboardRig(t, "pages")
	r.failover(t)
	b := startBrowser(t)
	first := b.open(t, r.way.url(), tabSetup{})
	first.run(t, chromedp.Navigate(r.way.url()+r.pages()["upstream"]))
	first.waitFor(t, "there is something to draw", `document.querySelectorAll(".chart").length === 4`)
	for _, v := range []struct {
		name  string
		lang  string
		setup tabSetup
	}{
		{"light", "en", tabSetup{}},
		{"dark-zh", "zh", tabSetup{dark: true}},
		{"phone", "en", tabSetup{width: 360, height: 740}},
		{"phone-zh", "zh", tabSetup{width: 360, height: 740, dark: true}},
		{"no-script", "en", tabSetup{noScript: true}},
	} {
		p := b.open(t, r.way.url(), v.setup)
		for name, path := range r.pages() {
			what := v.name + ", " + name
			mark := "?"
			if strings.Contains(path, "?") {
				mark = "&"
			}
			p.run(t, chromedp.Navigate(r.way.url()+path+mark+"lang="+v.lang), chromedp.WaitVisible("main h1, main h2", chromedp.ByQuery))
			p.shot(t, name+"-"+v.name)
			if v.setup.noScript { // and without scripts there is no looking at it from within
				continue
			}
			if lang := evaluate[string](t, p, "document.documentElement.lang"); !strings.HasPrefix(lang, v.lang) {
				t.Errorf("%s: the language is %q", what, lang)
			}
			if wide := evaluate[int](t, p, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); wide > 0 {
				t.Errorf("%s: %d pixels do not fit", what, wide)
			}
			p.accessible(t, what)
			p.quiet(t, what)
		}
	}
}
