package dashboard_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/dashboard"
	"github.com/pullchain/pullchain/internal/history"
)

// A badge tells how much of the time an upstream could be had; time of which nothing is
// known, and that for which it was taken out, is not counted.
func TestUptimeBadge(t *testing.T) {
	t.Parallel()
	rings := history.New()
	for i := 39; i >= 0; i-- { // quarters of an hour
		state := balancer.StateServing
		switch {
		case i == 5:
			state = balancer.StateDown
		case i < 20 && i >= 10:
			state = balancer.StateDrained
		case i == 3:
			state = balancer.StateCooling
		}
		rings.Observe(now.Add(-time.Duration(i)*15*time.Minute), []history.Observation{{Registry: "docker.io", Upstream: "docker-hub", State: state}})
	}
	h := dashboard.New(admin.Sources{Snapshot: healthy, History: rings})
	for _, tt := range []struct {
		path   string
		status int
		says   string
		color  string
	}{
		{"/badge/docker.io/docker-hub/uptime-24h.svg", 200, "docker.io / docker-hub uptime 24h: 96.7 %", "#b45309"}, // 29 of 30
		{"/badge/docker.io/docker-hub/uptime-1h.svg", 200, "docker.io / docker-hub uptime 1h: 100 %", "#15803d"},
		{"/badge/docker.io/cf-worker/uptime-24h.svg", 200, "docker.io / cf-worker uptime 24h: –", "#52606d"},
		{"/badge/docker.io/docker-hub/uptime-24h.svg?lang=zh", 200, "docker.io / docker-hub 可用率 24h: 96.7 %", "#b45309"},
		{"/badge/docker.io/docker-hub/uptime-1y.svg", 404, "", ""},
		{"/badge/docker.io/docker-hub/uptime-24h", 404, "", ""},
		{"/badge/docker.io/nosuch/uptime-24h.svg", 404, "", ""},
		{"/badge/nosuch/docker-hub/uptime-24h.svg", 404, "", ""},
		{"/badge/docker.io/docker-hub.svg", 200, "docker.io / docker-hub: serving", "#15803d"},
		{"/badge/docker.io.svg", 200, "docker.io: first path", "#15803d"},
	} {
		a := get(t, h, tt.path)
		if a.StatusCode != tt.status || tt.status == http.StatusOK && (!strings.Contains(a.body, "<title>"+tt.says+"</title>") || !strings.Contains(a.body, tt.color) || a.Header.Get("Content-Type") != "image/svg+xml") {
			t.Errorf("%s: %s\n%s", tt.path, a.Status, a.body)
		}
	}
	if a := get(t, dashboard.New(admin.Sources{Snapshot: healthy}), "/badge/docker.io/docker-hub/uptime-24h.svg"); a.StatusCode != http.StatusNotFound {
		t.Errorf("without a history: %s", a.Status)
	}
}
