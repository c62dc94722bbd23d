package regauth

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const (
	hub     = "https://registry-1.docker.io/v2/"
	hubAuth = `Bearer realm="https://auth.docker.io/token",service="registry.docker.io"`
	canary  = "canary-91c2"
)

// An internet answers every request in process and writes down what it saw.
type internet struct {
	answer func(*http.Request) *http.Response // nil response: the connection fails
	fail   error                              // for a nil response

	mu   sync.Mutex
	seen []*http.Request
}

func (n *internet) RoundTrip(req *http.Request) (*http.Response, error) {
	n.mu.Lock()
	n.seen = append(n.seen, req)
	n.mu.Unlock()
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	resp := n.answer(req)
	if resp == nil {
		return nil, n.fail
	}
	resp.Request = req
	return resp, nil
}

// ledger returns "METHOD url" of every request, with " +login" if it carried
// an Authorization.
func (n *internet) ledger() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var lines []string
	for _, req := range n.seen {
		line := req.Method + " " + req.URL.String()
		if req.Header.Get("Authorization") != "" {
			line += " +login"
		}
		lines = append(lines, line)
	}
	return lines
}

func (n *internet) calls() int { return len(n.ledger()) }

func reply(status int, body string, headers ...string) *http.Response {
	resp := &http.Response{StatusCode: status, Header: make(http.Header), Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i < len(headers); i += 2 {
		resp.Header.Add(headers[i], headers[i+1])
	}
	return resp
}

// granting answers every request with a new token that lives for seconds:
// t1, t2, ….
func granting(seconds int) *internet {
	n := &internet{}
	count := 0
	var mu sync.Mutex
	n.answer = func(*http.Request) *http.Response {
		mu.Lock()
		defer mu.Unlock()
		count++
		return reply(200, fmt.Sprintf(`{"token":"t%d","expires_in":%d}`, count, seconds))
	}
	return n
}

func answering(status int, body string, headers ...string) *internet {
	return &internet{answer: func(*http.Request) *http.Response { return reply(status, body, headers...) }}
}

// source returns a Source of a registry at origin that reaches n, with change
// made to its Config.
func source(t *testing.T, origin string, n *internet, change func(*Config)) *Source {
	t.Helper()
	u, err := url.Parse(origin)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := egress.NewGuard(egress.GuardConfig{Trusted: []string{net.JoinHostPort(u.Hostname(), port(u))}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Upstream: "hub", Origin: u, Guard: guard, Client: &http.Client{Transport: n}}
	if change != nil {
		change(&cfg)
	}
	s := New(cfg)
	return s
}

func login(c *Config) { c.Username, c.Password = "alice", canary }

// basic is the header that login makes.
var basic = pullchain.Secret("Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+canary)))

// challenge returns the 401 that the registry at raw gives to a request with
// the header sent.
func challenge(t *testing.T, raw string, sent pullchain.Secret, offers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	if sent != "" {
		req.Header.Set("Authorization", sent.Reveal())
	}
	resp := reply(401, "")
	resp.Header["Www-Authenticate"] = offers
	resp.Request = req
	return resp
}

// learn has s learn offers from a 401 of its own origin.
func learn(t *testing.T, s *Source, repo string, offers ...string) {
	t.Helper()
	if err := s.Learn(challenge(t, s.cfg.Origin.String(), "", offers...), repo); err != nil {
		t.Fatalf("Learn: %v", err)
	}
}

func header(t *testing.T, s *Source, repo string) string {
	t.Helper()
	h, err := s.Header(t.Context(), repo)
	if err != nil {
		t.Fatalf("Header(%s): %v", repo, err)
	}
	return h.Reveal()
}

// checkError asserts err's Reason, Code, Status and that its Reach is the token's, or
// the request's where our own policy said no.
func checkError(t *testing.T, what string, err error, reason pullchain.Reason, code pullchain.Code, status int) {
	t.Helper()
	e, ok := err.(*pullchain.Error)
	if !ok {
		t.Errorf("%s: %T %v; want a *pullchain.Error", what, err, err)
		return
	}
	reach := pullchain.ReachToken
	if reason == pullchain.Refused {
		reach = pullchain.ReachRequest
	}
	if e.Reason != reason || e.Code != code || e.Status != status || e.Reach != reach || e.Upstream != "hub" {
		t.Errorf("%s: %v (status %d, scope %d, upstream %q); want %v %s, status %d", what, e, e.Status, e.Reach, e.Upstream, reason, code, status)
	}
	if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), basic.Reveal()[6:]) {
		t.Errorf("%s: the error shows the login: %v", what, err)
	}
}
