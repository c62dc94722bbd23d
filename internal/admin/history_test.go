package admin_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/history"
)

func TestHistory(t *testing.T) {
	t.Parallel()
	rings := history.New()
	rings.Observe(now.Add(-20*time.Minute), []history.Observation{
		{Registry: "docker.io", Upstream: "docker-hub", State: "cooling", Code: "http_429_quota", Failed: 3},
		{Registry: "docker.io", Upstream: "was/here", State: "serving", OK: 1},
	})
	h := admin.New(admin.Config{}, admin.Sources{Snapshot: snapshot, History: rings})
	const base = "/api/v1/registries/docker.io/upstreams/"
	for _, tt := range []struct {
		target       string
		status       int
		problem      string // its code
		window       history.Window
		cellS, known int64 // how many cells know something
	}{
		{base + "docker-hub/history", 200, "", "1h", 60, 1},
		{base + "docker-hub/history?window=24h", 200, "", "24h", 900, 1},
		{base + "docker-hub/history?window=30d", 200, "", "30d", 21600, 1},
		{base + "cf-worker/history", 200, "", "1h", 60, 0},  // not observed yet
		{base + "was%2Fhere/history", 200, "", "1h", 60, 1}, // no longer configured
		{base + "docker-hub/history?window=1y", 400, "bad_request", "", 0, 0},
		{base + "none/history", 404, "unknown_upstream", "", 0, 0},
		{"/api/v1/registries/none/upstreams/none/history", 404, "unknown_upstream", "", 0, 0},
		{base + "docker-hub/future", 404, "not_found", "", 0, 0},
	} {
		r := httptest.NewRequest("GET", tt.target, nil)
		r.Host = "127.0.0.1"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if tt.problem != "" {
			if w.Code != tt.status || !strings.Contains(w.Body.String(), `"code":"`+tt.problem+`"`) {
				t.Errorf("%s: %d %s", tt.target, w.Code, w.Body)
			}
			continue
		}
		var got admin.UpstreamHistory
		if err := json.Unmarshal(w.Body.Bytes(), &got); w.Code != tt.status || err != nil {
			t.Errorf("%s: %d, %v", tt.target, w.Code, err)
			continue
		}
		var known int64
		for _, c := range got.Cells {
			if c.State != "" {
				known++
			}
		}
		last := got.Cells[len(got.Cells)-1].Start
		if got.Window != tt.window || got.CellS != tt.cellS || known != tt.known || last.After(now) || now.Sub(last) >= tt.window.Period() {
			t.Errorf("%s: window %s, cells of %d s, %d know something, the last is of %v", tt.target, got.Window, got.CellS, known, last)
		}
	}
	if w := ask(admin.Config{}, snapshot(), "GET", base+"docker-hub/history"); w.Code != 404 {
		t.Errorf("without a history: %d", w.Code)
	}
}
