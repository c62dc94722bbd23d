package admin_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pullchain/pullchain/internal/admin"
)

// Programs and pages read the warnings with their sentences, in either language.
func TestWarnings(t *testing.T) {
	t.Parallel()
	h := admin.New(admin.Config{}, admin.Sources{Snapshot: snapshot})
	for lang, title := range map[string]string{"": "home (socks5) is down", "?lang=zh": "出口代理 home (socks5) 不通"} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/api/v1/warnings"+lang, nil)
		r.Host = "127.0.0.1"
		h.ServeHTTP(w, r)
		var got admin.Warnings
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %s: %v", w.Code, w.Body, err)
		}
		if len(got.Warnings) != 3 || got.Warnings[0].Title != title || got.Warnings[0].Code != "egress_down" || got.Warnings[0].Advice == "" || got.Warnings[0].Fix == "" {
			t.Errorf("got %+v, want three, the first with the title %q", got.Warnings, title)
		}
	}
}
