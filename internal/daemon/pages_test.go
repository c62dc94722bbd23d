package daemon_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// A browser is shown the page, a terminal the table, at one address.
func TestAdminPagesAreForBrowsers(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	for accept, want := range map[string]string{"text/html,application/xhtml+xml": "<h1", "*/*": "REGISTRY"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Daemon.AdminAddr()+"/?lang=en", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := p.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("Accept %s: %v, %v, without %s:\n%s", accept, resp.Status, err, want, body)
		}
	}
}
