package front

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/access"
	"github.com/pullchain/pullchain/internal/regauth"
)

// A tokenServer stands for a registry's own.
type tokenServer struct {
	mu    sync.Mutex
	asked []string // "user:password repos"
	err   error
}

func (s *tokenServer) token(_ context.Context, login regauth.Login, repos []string) (regauth.Grant, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, login.Username+":"+login.Password.Reveal()+" "+strings.Join(repos, ","))
	return regauth.Grant{Token: "t/o.k~e=n", Life: anonymousLife}, s.err
}

func (s *tokenServer) calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// passingRoutes serve docker.io and a registry with a port, to which logins are passed on,
// and ghcr.io, to which none is.
func passingRoutes(t *testing.T, fetcher *fakeFetcher, hub, corp *tokenServer) *Routes {
	t.Helper()
	routes, err := NewRoutes([]Registry{
		{Name: "docker.io", Fetcher: fetcher, Token: hub.token},
		{Name: "ghcr.io", Fetcher: fetcher},
		{Name: "registry.corp:5000", Aliases: []string{"corp.mirror.example.com", "corp"}, Fetcher: fetcher, Token: corp.token},
	})
	if err != nil {
		t.Fatal(err)
	}
	return routes
}

// TestTickets: what a client shows comes back as it was given, and nothing else is taken
// for it.
func TestTickets(t *testing.T) {
	t.Parallel()
	for _, want := range []ticket{{}, {"docker.io", "abc"}, {"registry.corp:5000", "a/b.c~d=="}} {
		got, ok := readTicket(want.String())
		if !ok || got != want {
			t.Errorf("%q: %+v, %t", want.String(), got, ok)
		}
	}
	for _, text := range []string{"", "abc", "pullchain1.", "pullchain1.docker.io", "pullchain1.docker.io/", "pullchain1xdocker.io/abc", "pullchain12"} {
		if got, ok := readTicket(text); ok {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// TestScopes: a token is asked for where the path of the pull would lead, whichever way
// the client names the registry, and a login goes nowhere else.
func TestScopes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ host, query, hub, corp string }{
		"default":                   {"", "service=pullchain&scope=repository:alpine:pull", "library/alpine", ""},
		"path":                      {"", "service=pullchain&scope=repository:registry.corp%3A5000/team/app:pull", "", "team/app"},
		"path, alias":               {"", "service=pullchain&scope=repository:corp/team/app/x:pull", "", "team/app/x"},
		"ns":                        {"", "service=registry.corp%3A5000&scope=repository:team/app:pull", "", "team/app"},
		"ns, with the path's scope": {"", "service=docker.io&scope=repository:docker.io/team/app:pull", "team/app", ""},
		"host":                      {"corp.mirror.example.com", "service=registry.corp%3A5000&scope=repository:team/app:pull", "", "team/app"},
		"push too":                  {"", "service=pullchain&scope=repository:team/app:pull,push", "team/app", ""},
		"two of one registry":       {"", "scope=repository:a/b:pull&scope=repository:c/d:pull", "a/b,c/d", ""},
		"two in one":                {"", "scope=repository:a/b:pull+repository:c/d:pull", "a/b,c/d", ""},
		"of two registries":         {"", "scope=repository:a/b:pull&scope=repository:registry.corp%3A5000/c/d:pull", "a/b", ""},
		"without passthrough":       {"", "service=ghcr.io&scope=repository:a/b:pull", "", ""},
		"unknown registry":          {"", "service=pullchain&scope=repository:quay.io/a/b:pull", "", ""},
		"no repository":             {"", "service=pullchain&scope=registry:catalog:*", "", ""},
		"no name":                   {"", "service=pullchain&scope=repository:../../x:pull", "", ""},
		"a query in the name":       {"", "service=pullchain&scope=" + url.QueryEscape("repository:a/b?ns=x:pull"), "", ""},
		"docker login":              {"", "service=pullchain&account=ann", "", ""}, // which of two it is for, nothing tells
		"docker login, host":        {"corp.mirror.example.com", "service=registry.corp%3A5000&account=ann", "", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hub, corp := &tokenServer{}, &tokenServer{}
			h, _ := newHandler(t, Config{Listen: "0.0.0.0:5151"}, &fakeFetcher{fetch: healthy})
			h.SetRoutes(passingRoutes(t, &fakeFetcher{fetch: healthy}, hub, corp))
			s := serve(t, h)
			headers := []string{"Authorization: Basic YW5uOnB3"} // ann:pw
			if tt.host != "" {
				headers = append(headers, "Host: "+tt.host)
			}
			resp := do(t, s.Client(), http.MethodGet, s.URL+"/token?"+tt.query, headers...)
			if resp.Status != http.StatusOK || resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d, Cache-Control %q", resp.Status, resp.Header.Get("Cache-Control"))
			}
			for server, repos := range map[*tokenServer]string{hub: tt.hub, corp: tt.corp} {
				var want []string
				if repos != "" {
					want = []string{"ann:pw " + strings.TrimPrefix(repos, "-")}
				}
				if d := cmp.Diff(want, server.calls()); d != "" {
					t.Errorf("asked (-want +got):\n%s", d)
				}
			}
		})
	}
}

// TestChallenges: by what the client can find its way back, in its own terms.
func TestChallenges(t *testing.T) {
	t.Parallel()
	denied := &fakeFetcher{fetch: func(context.Context, pullchain.Request) (pullchain.Response, error) {
		return pullchain.Response{}, &pullchain.Error{Reason: pullchain.Denied, Code: pullchain.CodeUnauthorized, Status: http.StatusUnauthorized}
	}}
	for name, tt := range map[string]struct{ host, path, want string }{
		"check":               {"mirror.example:5151", "/v2/", `service="pullchain"`},
		"check, ns":           {"mirror.example", "/v2/?ns=docker.io", `service="docker.io"`},
		"check, host":         {"corp.mirror.example.com", "/v2/", `service="registry.corp:5000"`},
		"check, another":      {"mirror.example", "/v2/?ns=ghcr.io", ""},
		"default":             {"mirror.example", "/v2/alpine/manifests/1", `service="pullchain",scope="repository:alpine:pull"`},
		"path":                {"mirror.example", "/v2/docker.io/library/alpine/manifests/1", `service="pullchain",scope="repository:docker.io/library/alpine:pull"`},
		"alias before":        {"mirror.example", "/corp/v2/team/app/manifests/1", `service="registry.corp:5000",scope="repository:team/app:pull"`},
		"ns":                  {"mirror.example", "/v2/team/app/manifests/1?ns=registry.corp:5000", `service="registry.corp:5000",scope="repository:team/app:pull"`},
		"host":                {"corp.mirror.example.com", "/v2/team/app/tags/list", `service="registry.corp:5000",scope="repository:team/app:pull"`},
		"without passthrough": {"mirror.example", "/v2/ghcr.io/a/b/manifests/1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, _ := newHandler(t, Config{Listen: "0.0.0.0:5151"}, denied)
			h.SetRoutes(passingRoutes(t, denied, &tokenServer{}, &tokenServer{}))
			s := serve(t, h)
			resp := do(t, s.Client(), http.MethodGet, s.URL+tt.path, "Host: "+tt.host)
			want := ""
			if tt.want != "" {
				want = `Bearer realm="http://` + tt.host + `/token",` + tt.want
			}
			if got := resp.Header.Get("WWW-Authenticate"); got != want || (want != "") != (resp.Status == http.StatusUnauthorized) {
				t.Errorf("%d, challenge %s, want %s", resp.Status, got, want)
			}
		})
	}
}

// TestBearerGoesWithItsRegistry: the chain gets the token of the registry's own server, and
// that of another registry's goes nowhere.
func TestBearerGoesWithItsRegistry(t *testing.T) {
	t.Parallel()
	fetcher := &fakeFetcher{fetch: healthy}
	h, _ := newHandler(t, Config{Listen: "0.0.0.0:5151"}, fetcher)
	h.SetRoutes(passingRoutes(t, fetcher, &tokenServer{}, &tokenServer{}))
	s := serve(t, h)
	for _, tt := range []struct {
		path, shows string
		status      int
		bearer      pullchain.Secret
	}{
		{"/v2/alpine/manifests/1", ticket{"docker.io", "abc"}.String(), http.StatusOK, "abc"},
		{"/v2/alpine/manifests/1", ticket{}.String(), http.StatusOK, ""},
		{"/v2/registry.corp:5000/a/b/manifests/1", ticket{"docker.io", "abc"}.String(), http.StatusUnauthorized, ""},
		{"/v2/alpine/manifests/1", "abc", http.StatusUnauthorized, ""},
		{"/v2/ghcr.io/a/b/manifests/1", ticket{"docker.io", "abc"}.String(), http.StatusOK, ""},
	} {
		before := len(fetcher.ledger())
		resp := do(t, s.Client(), http.MethodGet, s.URL+tt.path, "Authorization: Bearer "+tt.shows)
		asked := fetcher.ledger()[before:]
		if resp.Status != tt.status || (tt.status == http.StatusOK) != (len(asked) == 1) {
			t.Fatalf("%s with %s: %d, %d requests", tt.path, tt.shows, resp.Status, len(asked))
		}
		if len(asked) == 1 && asked[0].Bearer != tt.bearer {
			t.Errorf("%s with %s: bearer %q", tt.path, tt.shows, asked[0].Bearer.Reveal())
		}
		if tt.bearer != "" && resp.Header.Get("Cache-Control") != keepNever { // a cache before us must not give it to the next client
			t.Errorf("%s with %s: Cache-Control %q", tt.path, tt.shows, resp.Header.Get("Cache-Control"))
		}
	}
}

// TestGuessesAreFew: a client that guesses is cut off before the registry bans us.
func TestGuessesAreFew(t *testing.T) {
	t.Parallel()
	hub := &tokenServer{err: &pullchain.Error{Reason: pullchain.Denied, Code: pullchain.CodeUnauthorized, Status: http.StatusUnauthorized}}
	h, _ := newHandler(t, Config{Listen: "0.0.0.0:5151"}, &fakeFetcher{fetch: healthy})
	h.SetRoutes(passingRoutes(t, &fakeFetcher{fetch: healthy}, hub, &tokenServer{}))
	s := serve(t, h)
	last := 0
	for range 5 * access.GuessesAtOnce {
		last = do(t, s.Client(), http.MethodGet, s.URL+"/token?scope=repository:a/b:pull", "Authorization: Basic YW5uOnB3").Status
	}
	if n := len(hub.calls()); last != http.StatusTooManyRequests || n < access.GuessesAtOnce || n >= 3*access.GuessesAtOnce {
		t.Errorf("%d guesses were shown to the registry, and the last was answered %d", n, last)
	}
}
