package admin_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/blobstore"
)

// Each action on the cache is a line of the log: what was done, by whose credential, why,
// and what came of it. A look is none.
func TestCacheActionsAreLogged(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		target, body string
		err          error
		want         []string // parts of the one line; none: there is none
	}{
		{"/api/v1/cache:evict", `{"what":"alpine","reason":"no\u001b more room"}`, nil,
			[]string{"level=INFO", "msg=operator", "action=cache_evict", `actor="loopback `, "what=alpine", `reason="no more room"`, "objects=2", "bytes=300"}},
		{"/api/v1/cache:pin", `{"what":"alpine","pinned":true}`, nil, []string{"action=cache_pin", `reason=""`, "objects=3"}},
		{"/api/v1/cache:pin", `{"what":"alpine","pinned":false}`, nil, []string{"action=cache_unpin"}},
		{"/api/v1/cache:gc", `{"reason":"monday"}`, nil, []string{"action=cache_gc", "reason=monday", "bytes=500"}},
		{"/api/v1/cache:verify", `{}`, nil, []string{"action=cache_verify"}},
		{"/api/v1/cache:evict", `{"what":"alpine"}`, blobstore.ErrInUse, []string{"level=WARN", "action=cache_evict", "error="}},
		{"/api/v1/cache:evict", `{}`, nil, nil}, // refused before anything is done
		{"/api/v1/cache:gc", `{"what":"alpine"}`, nil, nil},
	} {
		var log bytes.Buffer
		from := admin.Sources{Snapshot: snapshot, Cache: &fakeCache{err: tt.err}, Log: slog.New(slog.NewTextHandler(&log, nil))}
		send(admin.Config{}, from, http.MethodPost, tt.target, tt.body)
		lines := strings.Count(log.String(), "\n")
		if lines != min(len(tt.want), 1) {
			t.Errorf("%s %s: %d lines:\n%s", tt.target, tt.body, lines, &log)
		}
		for _, part := range tt.want {
			if !strings.Contains(log.String(), part) {
				t.Errorf("%s %s: no %q in\n%s", tt.target, tt.body, part, &log)
			}
		}
	}
}
