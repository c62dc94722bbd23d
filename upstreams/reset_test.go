package upstreams

import (
	"net/http"
	"testing"
	"time"
)

func TestUntilReset(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":           0,
		"90":         90 * time.Second,
		"1795262460": time.Minute,
		"1795262400": 0, // now
		"1795262000": 0, // past
		"soon":       0,
		"-5":         0,
	} {
		for _, name := range []string{"RateLimit-Reset", "X-RateLimit-Reset"} {
			e := classifyStatus(answer{status: 429, now: now, body: []byte(`{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}`), header: http.Header{http.CanonicalHeaderKey(name): {value}}})
			if e.RetryAfter != want {
				t.Errorf("%s: %q is %v, want %v", name, value, e.RetryAfter, want)
			}
		}
	}
}
