package regauth

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
)

func TestTokenIsAskedAheadOnceTheRealmIsKnown(t *testing.T) {
	t.Parallel()
	n := granting(300)
	s := source(t, hub, n, nil)
	if got := header(t, s, "library/alpine"); got != "" || s.NeedsToken("library/alpine") {
		t.Errorf("before any challenge: header %q, NeedsToken %t; want nothing", got, s.NeedsToken("library/alpine"))
	}
	learn(t, s, "", hubAuth) // from a probe of /v2/
	if got := header(t, s, ""); got != "" || s.NeedsToken("") {
		t.Errorf("/v2/ itself: header %q; want none", got)
	}
	if !s.NeedsToken("library/alpine") {
		t.Error("NeedsToken is false before the first token")
	}
	for range 64 {
		if got := header(t, s, "library/alpine"); got != "Bearer t1" {
			t.Fatalf("header %q; want Bearer t1", got)
		}
	}
	if got := header(t, s, "library/redis"); got != "Bearer t2" {
		t.Errorf("another repository: header %q; want its own token", got)
	}
	if s.NeedsToken("library/alpine") {
		t.Error("NeedsToken is true with a token at hand")
	}
	want := []string{
		"GET https://auth.docker.io/token?scope=repository%3Alibrary%2Falpine%3Apull&service=registry.docker.io",
		"GET https://auth.docker.io/token?scope=repository%3Alibrary%2Fredis%3Apull&service=registry.docker.io",
	}
	if diff := cmp.Diff(want, n.ledger()); diff != "" {
		t.Errorf("token calls (-want +got):\n%s", diff)
	}
}

func TestLoginGoesToTheRegistrysOwnTokenServer(t *testing.T) {
	t.Parallel()
	n := granting(300)
	s := source(t, hub, n, login)
	learn(t, s, "me/private", hubAuth)
	header(t, s, "me/private")
	if got := n.seen[0].Header.Get("Authorization"); got != basic.Reveal() {
		t.Errorf("Authorization %q; want the login", got)
	}
	if w := s.known(); w.realm.Host != "auth.docker.io" || !w.login {
		t.Errorf("realm %q, login %t; want auth.docker.io with the login", w.realm.Host, w.login)
	}
}

// TestCoalescing: 64 layers that start at once make one token call.
func TestCoalescing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := granting(300)
		grant := n.answer
		n.answer = func(req *http.Request) *http.Response {
			time.Sleep(100 * time.Millisecond)
			return grant(req)
		}
		s := source(t, hub, n, nil)
		learn(t, s, "", hubAuth)
		begin := time.Now()
		var wg sync.WaitGroup
		for i := range 128 {
			wg.Go(func() { header(t, s, fmt.Sprintf("library/r%d", i%2)) })
		}
		wg.Wait()
		if n.calls() != 2 || time.Since(begin) != 100*time.Millisecond {
			t.Errorf("%d token calls in %v; want one for each of 2 repositories, at the same time", n.calls(), time.Since(begin))
		}
	})
}

// TestWaitersHaveTheirOwnContext: a caller that gives up goes, the call goes on for the
// others and for the cache.
func TestWaitersHaveTheirOwnContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := granting(300)
		grant := n.answer
		n.answer = func(req *http.Request) *http.Response {
			time.Sleep(3 * time.Second)
			if req.Context().Err() != nil {
				return nil
			}
			return grant(req)
		}
		s := source(t, hub, n, nil)
		learn(t, s, "", hubAuth)
		canceled, cancel := context.WithCancel(t.Context())
		short, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := s.Header(canceled, "library/alpine")
			checkError(t, "canceled waiter", err, pullchain.Canceled, pullchain.CodeCanceled, 0)
		})
		synctest.Wait()
		wg.Go(func() {
			_, err := s.Header(short, "library/alpine")
			checkError(t, "waiter out of time", err, pullchain.Unavailable, pullchain.CodeToken, 0)
		})
		cancel()
		wg.Wait()
		if got := header(t, s, "library/alpine"); got != "Bearer t1" || n.calls() != 1 {
			t.Errorf("header %q after %d calls; want the first call's token", got, n.calls())
		}
	})
}

func TestFailuresOfTheTokenServer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		net    *internet
		reason pullchain.Reason
		code   pullchain.Code
		status int
		wait   time.Duration
	}{
		{"429", answering(429, "", "Retry-After", "90"), pullchain.Limited, pullchain.CodeThrottle, 429, 90 * time.Second},
		{"429 without a time", answering(429, "<html>"), pullchain.Limited, pullchain.CodeThrottle, 429, 0},
		{"429 for a week", answering(429, "", "Retry-After", "604800"), pullchain.Limited, pullchain.CodeThrottle, 429, 6 * time.Hour},
		{"429 until a time by its own clock", answering(429, "", "Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT", "Date", "Fri, 31 Dec 1999 23:59:29 GMT"), pullchain.Limited, pullchain.CodeThrottle, 429, 30 * time.Second},
		{"429 until the past", answering(429, "", "Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT"), pullchain.Limited, pullchain.CodeThrottle, 429, 0},
		{"429 with garbage", answering(429, "", "Retry-After", "soon"), pullchain.Limited, pullchain.CodeThrottle, 429, 0},
		{"503 with a time", answering(503, "", "Retry-After", "5"), pullchain.Limited, pullchain.CodeToken, 503, 5 * time.Second},
		{"503", answering(503, ""), pullchain.Unavailable, pullchain.CodeToken, 503, 0},
		{"500", answering(500, ""), pullchain.Unavailable, pullchain.CodeToken, 500, 0},
		{"522", answering(522, ""), pullchain.Unavailable, pullchain.CodeToken, 522, 0},
		{"404", answering(404, ""), pullchain.Unavailable, pullchain.CodeToken, 404, 0},
		{"204", answering(204, ""), pullchain.Unavailable, pullchain.CodeToken, 204, 0},
		{"400", answering(400, ""), pullchain.Denied, pullchain.CodeToken, 400, 0},
		{"401", answering(401, ""), pullchain.Denied, pullchain.CodeUnauthorized, 401, 0},
		{"403", answering(403, ""), pullchain.Denied, pullchain.CodeUnauthorized, 403, 0},
		{"407", answering(407, ""), pullchain.Egress, pullchain.CodeEgressAuth, 407, 0},
		{"a page", answering(200, "<!DOCTYPE html><html>Sign in to WiFi"), pullchain.Unavailable, pullchain.CodeToken, 0, 0},
		{"no token", answering(200, `{"details":"x"}`), pullchain.Unavailable, pullchain.CodeToken, 0, 0},
		{"a list", answering(200, `["t"]`), pullchain.Unavailable, pullchain.CodeToken, 0, 0},
		{"a token that smuggles a header", answering(200, `{"token":"a\r\nX-Evil: 1"}`), pullchain.Unavailable, pullchain.CodeToken, 0, 0},
		{"a token with a space", answering(200, `{"token":"a b"}`), pullchain.Unavailable, pullchain.CodeToken, 0, 0},
		{"connection lost", &internet{answer: func(*http.Request) *http.Response { return nil }, fail: fmt.Errorf("read: connection reset by peer")}, pullchain.Unavailable, pullchain.CodeToken, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := source(t, hub, tt.net, nil)
			learn(t, s, "", hubAuth)
			_, err := s.Header(t.Context(), "a/b")
			checkError(t, tt.name, err, tt.reason, tt.code, tt.status)
			if e, ok := err.(*pullchain.Error); ok && e.RetryAfter != tt.wait {
				t.Errorf("RetryAfter %v; want %v", e.RetryAfter, tt.wait)
			}
		})
	}
}

// TestPatienceIsTheRequests: a slow token server is waited for as long as the request
// itself lets one wait, and its answer serves the next request.
func TestPatienceIsTheRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := granting(300)
		grant := n.answer
		n.answer = func(req *http.Request) *http.Response {
			time.Sleep(15 * time.Second)
			return grant(req)
		}
		s := source(t, hub, n, nil)
		learn(t, s, "", hubAuth)
		short, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		_, err := s.Header(short, "a/b")
		checkError(t, "a request of 12 s", err, pullchain.Unavailable, pullchain.CodeToken, 0)
		if got := header(t, s, "a/b"); got != "Bearer t1" || n.calls() != 1 {
			t.Errorf("%q after %d calls; want the first call's token", got, n.calls())
		}
		if got := header(t, s, "c/d"); got != "Bearer t2" {
			t.Errorf("a patient request: %q", got)
		}
	})
}

func TestTokenCallTimesOut(t *testing.T) {
	t.Parallel()
	for setting, want := range map[time.Duration]time.Duration{0: DefaultTimeout, 5 * time.Second: 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			hang := roundTrip(func(req *http.Request) (*http.Response, error) {
				<-req.Context().Done()
				return nil, req.Context().Err()
			})
			s := source(t, hub, nil, func(c *Config) { c.Client, c.Timeout = &http.Client{Transport: hang}, setting })
			learn(t, s, "", hubAuth)
			begin := time.Now()
			_, err := s.Header(t.Context(), "a/b")
			checkError(t, "hanging token server", err, pullchain.Unavailable, pullchain.CodeToken, 0)
			if took := time.Since(begin); took != want {
				t.Errorf("gave up after %v; want %v", took, want)
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// TestRefusedLoginRests: failed logins get accounts banned, so one refusal is
// the answer for five minutes, whatever is asked for (docs/protocol.md 4.1).
func TestRefusedLoginRests(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*Config)
		status int
		others bool // other repositories rest as well
		rest   time.Duration
	}{
		{"wrong password", login, 401, true, 5 * time.Minute},
		{"not for this repository", login, 403, false, 5 * time.Minute},
		{"anonymous", nil, 401, false, 30 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := answering(tt.status, "denied")
				s := source(t, hub, n, tt.change)
				learn(t, s, "", hubAuth)
				for range 20 {
					_, err := s.Header(t.Context(), "a/b")
					checkError(t, tt.name, err, pullchain.Denied, pullchain.CodeUnauthorized, tt.status)
				}
				if n.calls() != 1 || s.NeedsToken("a/b") {
					t.Errorf("%d token calls, NeedsToken %t; want one call and then none", n.calls(), s.NeedsToken("a/b"))
				}
				if rests := !s.NeedsToken("c/d"); rests != tt.others {
					t.Errorf("another repository rests: %t; want %t", rests, tt.others)
				}
				time.Sleep(tt.rest)
				if !s.NeedsToken("a/b") {
					t.Errorf("still resting after %v", tt.rest)
				}
			})
		})
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	s := source(t, hub, granting(60), login)
	learn(t, s, "", hubAuth)
	h, err := s.Header(t.Context(), "a/b")
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", h, h, h, s.logins.known()); strings.Contains(text, "t1") || strings.Contains(text, basic.Reveal()) {
		t.Errorf("printed: %s", text)
	}
}
