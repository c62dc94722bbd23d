package cli_test

import (
	"encoding/json"
	"net/http"
	"syscall"
	"testing"
)

// What a daemon has logged is there when it has ended, up to the last line.
func TestRunLogIsWhole(t *testing.T) {
	t.Parallel()
	_, hub := hubOf(t)
	c := startChild(t, file(t, "pullchain.toml", configOf(hub.URL(), "")))
	const pulls = 50
	for range pulls {
		get(t, c.listen+small.Build().Path())
	}
	resp, err := http.Get(c.listen + "/v2/quay.io/a/b/manifests/1") // a warning, in between
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for range pulls {
		get(t, c.listen+small.Build().Path())
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	var statuses []float64
	for c.lines.Scan() {
		record := map[string]any{}
		if err := json.Unmarshal(c.lines.Bytes(), &record); err != nil {
			t.Fatalf("a line of the log is no JSON: %s", c.lines.Text())
		}
		if record["msg"] == "request" {
			statuses = append(statuses, record["status"].(float64))
		}
	}
	if code := c.end(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if len(statuses) != 2*pulls+1 || statuses[pulls] != http.StatusNotFound {
		t.Errorf("the log has %d requests, want %d; the refused one is not in its place: %v", len(statuses), 2*pulls+1, statuses)
	}
}
