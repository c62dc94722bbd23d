package front

import (
	"context"
	"net/http"
	"testing"

	"github.com/pullchain/pullchain"
)

// At a further listener, a path without a registry means that of the listener, by any of
// its names; what names one is as everywhere.
func TestListenersRegistry(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, byDefault, url, host string
		registry, repo, form       string
	}{
		{"its registry", "ghcr.io", "/v2/owner/app/manifests/1", "", "ghcr.io", "owner/app", "default"},
		{"by an alias", "ghcr", "/v2/owner/app/manifests/1", "", "ghcr.io", "owner/app", "default"},
		{"one component", "registry.k8s.io", "/v2/pause/manifests/1", "", "registry.k8s.io", "pause", "default"},
		{"a name that begins like a host", "registry.corp:5000", "/v2/my.project/app/manifests/1", "", "registry.corp:5000", "my.project/app", "default"},
		{"a name that begins with a word", "registry.corp:5000", "/v2/rk8s/owner/app/manifests/1", "", "registry.corp:5000", "rk8s/owner/app", "default"},
		{"docker.io", "docker.io", "/v2/alpine/manifests/1", "", "docker.io", "library/alpine", "default"},
		{"path", "ghcr.io", "/v2/docker.io/alpine/manifests/1", "", "docker.io", "library/alpine", "path"},
		{"ns", "ghcr.io", "/v2/library/alpine/manifests/1?ns=docker.io", "", "docker.io", "library/alpine", "ns"},
		{"word", "docker.io", "/rk8s/v2/pause/manifests/1", "", "registry.k8s.io", "pause", "path"},
		{"host", "registry.k8s.io", "/v2/owner/app/manifests/1", "ghcr.mirror.example.com", "ghcr.io", "owner/app", "host"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fetcher := &fakeFetcher{fetch: healthy}
			h, logs := newHandler(t, Config{}, fetcher)
			s := serve(t, h.At(Config{}.At(Listener{Listen: "0.0.0.0:5001"}), tt.byDefault))
			var header []string
			if tt.host != "" {
				header = []string{"Host: " + tt.host}
			}
			if g := do(t, s.Client(), "GET", s.URL+tt.url, header...); g.Status != http.StatusOK {
				t.Fatalf("%d %s", g.Status, g.Body)
			}
			if asked := fetcher.ledger(); len(asked) != 1 || asked[0].Registry != tt.registry || asked[0].Repo != tt.repo {
				t.Errorf("the chain was asked %+v, want %s %s", asked, tt.registry, tt.repo)
			}
			if line := logs.access(t)[0]; line["form"] != tt.form {
				t.Errorf("log says %v", line["form"])
			}
		})
	}
}

// A listener whose registry a reload took away says so.
func TestListenersRegistryIsGone(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: healthy})
	s := serve(t, h.At(Config{}, "quay.io"))
	g := do(t, s.Client(), "GET", s.URL+"/v2/owner/app/manifests/1")
	if e := decodeError(t, g.Body); g.Status != http.StatusNotFound || e.Code != "NAME_UNKNOWN" {
		t.Errorf("%d %+v", g.Status, e)
	}
	if g := do(t, s.Client(), "GET", s.URL+"/v2/"); g.Status != http.StatusOK {
		t.Errorf("the version check is answered by %d", g.Status)
	}
}

// Each listener is as strict about names as its own address demands, and names the
// operator's plane if its own clients can reach that; limits are those of all.
func TestListenersDiffer(t *testing.T) {
	t.Parallel()
	down := &fakeFetcher{fetch: func(context.Context, pullchain.Request) (pullchain.Response, error) {
		return pullchain.Response{}, &pullchain.Error{Reason: pullchain.Unavailable}
	}}
	c := Config{Listen: "127.0.0.1:5151", AdminURL: "http://127.0.0.1:5152/"}
	h, logs := newHandler(t, c, down)
	first := serve(t, h)
	open := c.At(Listener{Listen: "0.0.0.0:5001"})
	open.AdminURL = ""
	second := serve(t, h.At(open, "ghcr.io"))
	const path = "/v2/owner/app/manifests/1"
	if g := do(t, first.Client(), "GET", first.URL+path, "Host: rebound.example.com"); g.Status != http.StatusForbidden {
		t.Errorf("a rebound name on loopback: %d", g.Status)
	}
	if g := do(t, second.Client(), "GET", second.URL+path, "Host: mirror.example.com"); g.Status != http.StatusServiceUnavailable {
		t.Errorf("a name of the team's mirror: %d %s", g.Status, g.Body)
	}
	for s, want := range map[string]string{
		first.URL:  `docker.io/owner/app:1: no upstream could answer: unavailable; see http://127.0.0.1:5152/ or run "pullchain status"`,
		second.URL: `ghcr.io/owner/app:1: no upstream could answer: unavailable; run "pullchain status"`,
	} {
		g := do(t, first.Client(), "GET", s+path)
		if e := decodeError(t, g.Body); e.Message != want {
			t.Errorf("message %q, want %q", e.Message, want)
		}
	}
	if lines := logs.access(t); len(lines) != 4 {
		t.Errorf("%d lines in the log of both", len(lines))
	}
}
