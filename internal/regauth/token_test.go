package regauth

import (
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

// TestF30_TokenLife: used to 90 % of its life, renewed in the background from
// 80 %, never waited for while the old one is good.
func TestF30_TokenLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := granting(1000)
		s := source(t, hub, n, nil)
		learn(t, s, "", hubAuth)
		header(t, s, "a/b")
		grant := n.answer
		n.answer = func(req *http.Request) *http.Response {
			time.Sleep(time.Second) // or it is over before the test can see that no caller waits
			return grant(req)
		}
		time.Sleep(799 * time.Second)
		header(t, s, "a/b")
		synctest.Wait()
		if n.calls() != 1 {
			t.Errorf("%d calls before 80 %% of the life; want 1", n.calls())
		}
		time.Sleep(time.Second)
		for range 10 {
			if got := header(t, s, "a/b"); got != "Bearer t1" {
				t.Fatalf("header %q at 80 %%; want the old one, at once", got)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := header(t, s, "a/b"); got != "Bearer t2" || n.calls() != 2 {
			t.Errorf("header %q after %d calls; want the renewed token by one call", got, n.calls())
		}
		time.Sleep(899*time.Second - 1) // its life began with the call
		if s.NeedsToken("a/b") {
			t.Error("not usable just before 90 % of its life")
		}
		time.Sleep(time.Nanosecond)
		if !s.NeedsToken("a/b") {
			t.Error("still usable at 90 % of its life")
		}
	})
}

// TestRenewalThatFailsIsTriedOnce: a sick token server is not asked by every
// request of the last tenth but one of a token's life.
func TestRenewalThatFailsIsTriedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := granting(100)
		s := source(t, hub, n, nil)
		learn(t, s, "", hubAuth)
		header(t, s, "a/b")
		n.answer = func(*http.Request) *http.Response { return reply(500, "") }
		time.Sleep(80 * time.Second)
		for range 10 {
			header(t, s, "a/b")
			synctest.Wait()
		}
		if n.calls() != 2 {
			t.Errorf("%d calls; want the first and one renewal", n.calls())
		}
		time.Sleep(10 * time.Second)
		_, err := s.Header(t.Context(), "a/b")
		checkError(t, "at 90 %", err, pullchain.Unavailable, pullchain.CodeToken, 500)
	})
}

func TestTokenReplies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		body   string
		header string
		life   time.Duration // to the moment it is no longer used
	}{
		{`{"token":"a"}`, "Bearer a", 54 * time.Second},
		{`{"access_token":"b","expires_in":300}`, "Bearer b", 270 * time.Second},
		{`{"token":"a","access_token":"b","expires_in":0}`, "Bearer a", 54 * time.Second},
		{`{"token":"a","expires_in":10}`, "Bearer a", 54 * time.Second},
		{`{"token":"a","expires_in":"600"}`, "Bearer a", 540 * time.Second},
		{`{"token":"a","expires_in":1e30}`, "Bearer a", 24 * time.Hour / 10 * 9},
		{`{"token":"a","expires_in":-5}`, "Bearer a", 54 * time.Second},
		{`{"token":"a","expires_in":{"x":1}}`, "Bearer a", 54 * time.Second},
		// F29: the server's clock is wrong by years, and of no interest.
		{`{"token":"a","expires_in":300,"issued_at":"1999-01-01T00:00:00Z"}`, "Bearer a", 270 * time.Second},
		{`{"token":"a","expires_in":300,"issued_at":"2099-01-01T00:00:00Z"}`, "Bearer a", 270 * time.Second},
	} {
		t.Run(tt.body, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := source(t, hub, answering(200, tt.body), nil)
				learn(t, s, "", hubAuth)
				if got := header(t, s, "a/b"); got != tt.header {
					t.Errorf("header %q; want %q", got, tt.header)
				}
				time.Sleep(tt.life - 1)
				early := s.NeedsToken("a/b")
				time.Sleep(time.Nanosecond)
				if late := s.NeedsToken("a/b"); early || !late {
					t.Errorf("needs a new one 1 ns before %v: %t, then: %t; want false, true", tt.life, early, late)
				}
			})
		})
	}
}

// TestF29_LifeBeginsWithTheCall: a slow token server's token is older than it
// looks.
func TestF29_LifeBeginsWithTheCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := granting(100)
		grant := n.answer
		n.answer = func(req *http.Request) *http.Response {
			time.Sleep(8 * time.Second)
			return grant(req)
		}
		s := source(t, hub, n, nil)
		learn(t, s, "", hubAuth)
		header(t, s, "a/b")
		time.Sleep(82 * time.Second)
		if !s.NeedsToken("a/b") {
			t.Error("90 s after the call began the token is still used")
		}
	})
}

// TestF30_ExpiryMidPull: 64 streams hit 401 with one old token; it is dropped
// once, replaced once, and late rejections do not drop the new one.
func TestF30_ExpiryMidPull(t *testing.T) {
	t.Parallel()
	n := granting(300)
	s := source(t, hub, n, nil)
	learn(t, s, "", hubAuth)
	old := pullchain.Secret(header(t, s, "a/b"))
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			s.Reject("a/b", old)
			if err := s.Learn(challenge(t, hub+"a/b/blobs/x", old, hubAuth+`,error="invalid_token"`), "a/b"); err != nil {
				t.Error(err)
			}
			if got := header(t, s, "a/b"); got != "Bearer t2" {
				t.Errorf("header %q; want Bearer t2", got)
			}
		})
	}
	wg.Wait()
	if n.calls() != 2 {
		t.Errorf("%d token calls; want the first and one more", n.calls())
	}
}
