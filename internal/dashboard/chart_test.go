package dashboard_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/dashboard"
	"github.com/pullchain/pullchain/internal/history"
)

// What the charts of an upstream draw is said in a sentence, and to be had as a table.
func TestCharts(t *testing.T) {
	t.Parallel()
	rings := history.New()
	at := func(ago time.Duration, o history.Observation) {
		o.Registry, o.Upstream, o.State = "docker.io", "docker-hub", balancer.StateServing
		rings.Observe(now.Add(-ago), []history.Observation{o})
	}
	at(10*time.Minute, history.Observation{OK: 1})
	at(5*time.Minute, history.Observation{
		OK: 1201, Failed: 10, SaidNo: 4, Limited: 3, Broken: 1, Waits: []history.Waits{{Total: 1, LastMS: []float64{40}}}, Received: 300 << 20,
		Rates: history.Rates{Total: 2, Last: []float64{3 << 20, 3 << 20}}, Quota: &history.Quota{Limit: 100, Remaining: 42, At: now.Add(-5 * time.Minute)},
	})
	from := admin.Sources{Snapshot: healthy, History: rings}
	h := dashboard.New(from)
	var told []string
	for _, n := range elements(get(t, h, "/r/docker.io/u/docker-hub").tree, "figure") {
		for _, svg := range elements(n, "svg") {
			if has(svg, "aria-label") {
				told = append(told, attr(svg, "aria-label"))
			}
		}
	}
	want := []string{"Time to the first byte: lately 4", "How fast blobs came: lately 3", "answered 1\u2009201, said no 4, limited 3, no answer 2, broken 1. The upper edge is 2\u2009000", "at last 42 of 100 left"}
	if len(told) != len(want) {
		t.Fatalf("charts: %q", told)
	}
	for i := range want {
		if !strings.Contains(told[i], want[i]) {
			t.Errorf("%q without %q", told[i], want[i])
		}
	}
	if !strings.Contains(told[1], "300 MiB in all") || !strings.Contains(told[1], "upper edge is 5 MiB/s") {
		t.Errorf("%q", told[1])
	}
	page := get(t, h, "/r/docker.io/u/docker-hub?view=figures")
	rows := elements(elements(page.tree, "figure")[0], "tr")
	if len(rows) != 3 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, want := range []string{"300 MiB", "1\u2009200", "42/100"} {
		if !strings.Contains(text(rows[1]), want) {
			t.Errorf("no %s in\n%s", want, text(rows[1]))
		}
	}
}

// Each column of the bars of an upstream, and of a registry, says what was seen then: an
// arrow key goes from one to the next.
func TestBarsHaveTexts(t *testing.T) {
	t.Parallel()
	for path, bars := range map[string]int{"/r/docker.io/u/docker-hub": 3, "/r/docker.io": 1, "/": 0} {
		n := 0
		for _, svg := range elements(get(t, over(troubled), path).tree, "svg") {
			if !has(svg, "data-key") {
				continue
			}
			n++
			for _, r := range elements(svg, "rect") {
				if strings.TrimSpace(render(r.FirstChild)) == "" {
					t.Errorf("%s: a column without a text: %s", path, render(r))
				}
			}
			place := 0
			for _, s := range elements(svg.Parent, "span") {
				if attr(s, "class") == "read" {
					place++
				}
			}
			if place != 1 {
				t.Errorf("%s: %d places to show it at", path, place)
			}
		}
		if n != bars {
			t.Errorf("%s: %d bars with texts, want %d", path, n, bars)
		}
	}
}

// An upstream that has not what is asked for works.
func TestNoIsNoTrouble(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		saidNo uint64
		level  string
	}{{9, "b-ok"}, {0, "b-warn"}} {
		rings := history.New()
		rings.Observe(now, []history.Observation{{Registry: "docker.io", Upstream: "docker-hub", State: balancer.StateServing, OK: 10, Failed: 9, SaidNo: tt.saidNo}})
		page := get(t, dashboard.New(admin.Sources{Snapshot: healthy, History: rings}), "/r/docker.io/u/docker-hub")
		cells := elements(page.tree, "rect")
		if got := attr(cells[59], "class"); got != tt.level {
			t.Errorf("%d of 9 said no: %s, want %s", tt.saidNo, got, tt.level)
		}
	}
}
