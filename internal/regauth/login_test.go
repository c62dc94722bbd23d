package regauth

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

// A program stands for a credential helper.
type program struct {
	mu    sync.Mutex
	login Login
	err   error
	runs  int
	takes time.Duration
}

func (p *program) ask(context.Context) (Login, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	time.Sleep(p.takes)
	p.runs++
	return p.login, p.err
}

func (p *program) set(login Login, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.login, p.err = login, err
}

func asking(p *program) func(*Config) { return func(c *Config) { c.Ask = p.ask } }

// TestProgramIsAskedWhenItIsNeeded: not before, once for all, and again in the background
// when what it said has aged.
func TestProgramIsAskedWhenItIsNeeded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &program{login: Login{"AWS", "one"}, takes: time.Second}
		s := source(t, hub, granting(60), asking(p))
		learn(t, s, "", `Basic realm="x"`)
		if p.runs != 0 || !s.NeedsToken("a/b") {
			t.Fatalf("%d runs before any pull, NeedsToken %t; want none, and that a request would wait", p.runs, s.NeedsToken("a/b"))
		}
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { header(t, s, "a/b") })
		}
		all.Wait()
		if p.runs != 1 || s.NeedsToken("a/b") {
			t.Errorf("%d runs for 50 requests; want 1", p.runs)
		}
		p.set(Login{"AWS", "two"}, nil)
		time.Sleep(askAgain)
		if got := header(t, s, "a/b"); got != (Login{"AWS", "one"}).basic().Reveal() {
			t.Errorf("header %q; want the old login while the next is asked for", got)
		}
		time.Sleep(2 * time.Second)
		if got := header(t, s, "a/b"); got != (Login{"AWS", "two"}).basic().Reveal() || p.runs != 2 {
			t.Errorf("header %q after %d runs; want the new login by the second", got, p.runs)
		}
	})
}

// TestF68_ProgramThatFails: its failure is in the way of what needs the login, is told with
// its words, and is not repeated by every request. A login that it gave before goes on.
func TestF68_ProgramThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &program{err: errors.New("docker-credential-x is not in PATH")}
		s := source(t, hub, granting(60), asking(p))
		learn(t, s, "", `Basic realm="x"`)
		for range 20 {
			_, err := s.Header(t.Context(), "a/b")
			checkError(t, "while it fails", err, pullchain.Unavailable, pullchain.CodeCredentialHelper, 0)
			if !strings.Contains(err.Error(), "docker-credential-x is not in PATH") {
				t.Fatal(err)
			}
		}
		if p.runs != 1 {
			t.Errorf("%d runs for 20 requests; want 1", p.runs)
		}
		p.set(Login{"u", "p"}, nil)
		time.Sleep(askPause)
		header(t, s, "a/b")
		p.set(Login{}, errors.New("down"))
		time.Sleep(askAgain)
		for range 20 {
			header(t, s, "a/b")
			synctest.Wait()
		}
		if p.runs != 3 {
			t.Errorf("%d runs; want one more", p.runs)
		}
	})
}

// TestLoginThatTheRegistryRefuses: the program is asked once more for all that were
// refused. What it says anew is tried; what it says again rests as a wrong password does.
func TestLoginThatTheRegistryRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &program{login: Login{"AWS", "one"}}
		s := source(t, hub, granting(60), asking(p))
		learn(t, s, "", `Basic realm="x"`)
		refuse := func(sent string) error {
			s.Reject("a/b", pullchain.Secret(sent))
			return s.Learn(challenge(t, hub, pullchain.Secret(sent), `Basic realm="x"`), "a/b")
		}
		one := header(t, s, "a/b")
		p.set(Login{"AWS", "two"}, nil)
		for range 5 { // of requests that were under way with the old one
			if err := refuse(one); err != nil {
				t.Fatal(err)
			}
		}
		two := header(t, s, "a/b")
		if two == one || p.runs != 2 {
			t.Fatalf("header %q after %d runs; want another by one more", two, p.runs)
		}
		checkError(t, "refused again", refuse(two), pullchain.Denied, pullchain.CodeUnauthorized, 401)
		_, err := s.Header(t.Context(), "a/b")
		checkError(t, "rests", err, pullchain.Denied, pullchain.CodeUnauthorized, 401)
		if p.runs != 3 {
			t.Errorf("%d runs; want 3", p.runs)
		}
		p.set(Login{"AWS", "three"}, nil)
		time.Sleep(askAgain)
		header(t, s, "c/d")
		synctest.Wait()
		if got := header(t, s, "a/b"); got == two {
			t.Error("the new login is held back for the old one's refusal")
		}
	})
}

// TestTokenServerThatRefusesTheLogin: an old login is renewed within the call.
func TestTokenServerThatRefusesTheLogin(t *testing.T) {
	t.Parallel()
	p := &program{login: Login{"u", "old"}}
	n := granting(60)
	grant := n.answer
	n.answer = func(req *http.Request) *http.Response {
		if _, password, _ := req.BasicAuth(); password != "new" {
			p.set(Login{"u", "new"}, nil)
			return reply(401, "")
		}
		return grant(req)
	}
	s := source(t, hub, n, asking(p))
	learn(t, s, "", hubAuth)
	if got := header(t, s, "a/b"); got != "Bearer t1" || n.calls() != 2 || p.runs != 2 {
		t.Errorf("header %q after %d calls and %d runs", got, n.calls(), p.runs)
	}
}

// TestIdentityToken: it goes by POST to the realm that may have the login, and nowhere else.
func TestIdentityToken(t *testing.T) {
	t.Parallel()
	var form url.Values
	n := granting(60)
	grant := n.answer
	n.answer = func(req *http.Request) *http.Response {
		body, _ := io.ReadAll(req.Body)
		form, _ = url.ParseQuery(string(body))
		if req.Method != http.MethodPost || req.URL.RawQuery != "" || req.Header.Get("Authorization") != "" {
			t.Errorf("%s %s, Authorization %q", req.Method, req.URL, req.Header.Get("Authorization"))
		}
		return grant(req)
	}
	s := source(t, hub, n, asking(&program{login: Login{IdentityUser, canary}}))
	learn(t, s, "", hubAuth)
	if got := header(t, s, "a/b"); got != "Bearer t1" {
		t.Errorf("header %q", got)
	}
	if form.Get("grant_type") != "refresh_token" || form.Get("refresh_token") != canary || form.Get("scope") != "repository:a/b:pull" {
		t.Errorf("form %v", form)
	}

	n = granting(60)
	s = source(t, hub, n, asking(&program{login: Login{IdentityUser, canary}}))
	learn(t, s, "a/b", `Bearer realm="https://evil.example/token"`)
	header(t, s, "a/b")
	for _, line := range n.ledger() {
		if strings.Contains(line, "POST") || strings.Contains(line, canary) {
			t.Errorf("a foreign realm got %s", line)
		}
	}
}
