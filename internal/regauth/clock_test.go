package regauth

import (
	"net/http"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/clocktest"
)

// TestF60_ClockOfTokens sets the clock by a day while there is a token, or a refusal. After a
// day forward, which is what a sleep of a day is, one call is made; after a day back none,
// until the token's own time is over.
func TestF60_ClockOfTokens(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, c := range []struct {
		name   string
		set    time.Duration
		later  time.Duration // by the clock that is not set
		header string
		calls  int
	}{
		{"a day back", -day, 0, "Bearer t1", 1},
		{"a day back, its life over", -day, 900 * time.Second, "Bearer t2", 2},
		{"a day forward, or of sleep", day, 0, "Bearer t2", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := granting(1000)
			s := source(t, hub, n, nil)
			learn(t, s, "", hubAuth)
			header(t, s, "a/b")
			for _, token := range s.tokens.All() {
				token.asked = clocktest.Set(token.asked.Add(-c.later), -c.set)
			}
			for range 3 {
				if got := header(t, s, "a/b"); got != c.header {
					t.Errorf("header %q, want %q", got, c.header)
				}
			}
			if n.calls() != c.calls {
				t.Errorf("%d calls, want %d", n.calls(), c.calls)
			}
		})
	}
}

// TestF60_ClockOfRefusals: a login that was refused is held back for its five minutes, and no
// longer, whatever becomes of the clock.
func TestF60_ClockOfRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		set   time.Duration
		later time.Duration
		calls int
	}{
		{"a day back", -24 * time.Hour, 0, 1},
		{"a day back, its time over", -24 * time.Hour, refusedLogin, 2},
		{"a day forward, or of sleep", 24 * time.Hour, 0, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := &internet{answer: func(*http.Request) *http.Response { return reply(401, "") }}
			s := source(t, hub, n, func(c *Config) { c.Username, c.Password = "me", "pw" })
			learn(t, s, "", hubAuth)
			if _, err := s.Header(t.Context(), "a/b"); err == nil {
				t.Fatal("no error")
			}
			for k, r := range s.refusals.All() {
				r.until = clocktest.Set(r.until.Add(-c.later), -c.set)
				s.refusals.Set(k, r)
			}
			_, _ = s.Header(t.Context(), "a/b")
			if n.calls() != c.calls {
				t.Errorf("%d calls, want %d", n.calls(), c.calls)
			}
		})
	}
}
