package dashboard_test

import (
	"context"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/dashboard"
)

// breakable is a demo in which hub stalls.
type breakable struct{}

func (breakable) Switches() []admin.Switch {
	return []admin.Switch{{Upstream: "hub", Fault: "stall", Faults: []string{admin.NoFault, "stall"}}, {Upstream: "mirror", Fault: admin.NoFault, Faults: []string{admin.NoFault, "stall"}}}
}

func (breakable) Throw(context.Context, string, string) error { return nil }

// The switches are on the page of a demo, and on no other.
func TestDemoPanel(t *testing.T) {
	t.Parallel()
	for lang, pressed := range map[string]string{"en": "stalls works", "zh": "卡住 正常"} {
		a := get(t, dashboard.New(admin.Sources{Snapshot: healthy, Demo: breakable{}}), "/?lang="+lang)
		for _, f := range faults(a) {
			t.Error(f)
		}
		var on []string
		for _, b := range elements(a.tree, "button") {
			if attr(b, "aria-pressed") == "true" {
				on = append(on, strings.TrimSpace(text(b)))
			}
		}
		if got := strings.Join(on, " "); got != pressed {
			t.Errorf("%s: pressed are %q, want %q", lang, got, pressed)
		}
		forms := 0
		for _, f := range elements(a.tree, "form") {
			if attr(f, "action") == "/demo" && attr(f, "method") == "post" {
				forms++
			}
		}
		if forms != 2 {
			t.Errorf("%d forms", forms)
		}
	}
	if a := get(t, over(healthy), "/"); strings.Contains(a.body, `"/demo"`) || strings.Contains(a.body, "Break something") {
		t.Error("a page of no demo has its switches")
	}
}
