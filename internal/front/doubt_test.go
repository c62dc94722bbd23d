package front

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
)

// only is a chain with one repository, to which a registry's answer for all others
// is a 404.
func only(repo string) *fakeFetcher {
	return &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		if req.Repo != repo {
			return pullchain.Response{}, &pullchain.Error{Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Status: http.StatusNotFound}
		}
		return healthy(ctx, req)
	}}
}

// repos lists the repositories that a chain was asked for.
func (f *fakeFetcher) repos() []string {
	var out []string
	for _, req := range f.ledger() {
		out = append(out, req.Repo)
	}
	return out
}

// Where the first component of a name may be none of it, the name that the client sent
// is served if there is one, and the other if not, with the fix for the file that is
// wrong. What a digest names is not asked for by a name that is settled; a tag is.
func TestNamesInDoubt(t *testing.T) {
	t.Parallel()
	blob := "blobs/" + layerDigest.String()
	const tag = "manifests/1"
	tests := []struct {
		name, path, query, there string
		refs                     []string // what is asked for, one after the other
		status                   int
		asked                    []string
		warned                   bool
	}{
		{"the path without override_path", "/v2/ghcr.io/v2/owner/app/", "?ns=ghcr.io", "owner/app",
			[]string{tag, blob, tag}, 200, []string{"v2/owner/app", "owner/app", "owner/app", "v2/owner/app", "owner/app"}, true},
		{"an owner that is called v2", "/v2/ghcr.io/v2/owner/app/", "?ns=ghcr.io", "v2/owner/app",
			[]string{tag, blob}, 200, []string{"v2/owner/app", "v2/owner/app"}, false},
		{"neither", "/v2/ghcr.io/v2/owner/app/", "?ns=ghcr.io", "other",
			[]string{tag}, 404, []string{"v2/owner/app", "owner/app"}, false},
		{"podman reads no hosts.toml", "/v2/ghcr.io/v2/owner/app/", "", "owner/app",
			[]string{tag}, 404, []string{"v2/owner/app"}, false},
		{"one component", "/v2/registry.k8s.io/v2/pause/", "?ns=registry.k8s.io", "pause",
			[]string{tag, blob}, 200, []string{"v2/pause", "pause", "pause"}, true},
		{"an alias after /v2, with ns", "/v2/ghcr/owner/app/", "?ns=ghcr.io", "owner/app",
			[]string{tag, blob}, 200, []string{"ghcr/owner/app", "owner/app", "owner/app"}, false},
		{"an owner that is called like the alias", "/v2/ghcr/owner/app/", "?ns=ghcr.io", "ghcr/owner/app",
			[]string{tag, blob}, 200, []string{"ghcr/owner/app", "ghcr/owner/app"}, false},
		{"the Hub has no such names", "/v2/docker.io/v2/library/app/", "?ns=docker.io", "library/app",
			[]string{tag, blob}, 200, []string{"library/app", "library/app"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := only(tt.there)
			h, _ := newHandler(t, Config{}, f)
			s := serve(t, h)
			for _, ref := range tt.refs {
				g := do(t, s.Client(), "GET", s.URL+tt.path+ref+tt.query)
				if g.Status != tt.status {
					t.Fatalf("%s: status %d, want %d: %s", ref, g.Status, tt.status, g.Body)
				}
				if got := strings.Contains(g.Header.Get("Warning"), "override_path = true"); got != (tt.warned && ref == tag) {
					t.Errorf("%s: Warning %q", ref, g.Header.Get("Warning"))
				}
			}
			if diff := cmp.Diff(tt.asked, f.repos()); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

// What fails for a moment says nothing of a name: the other is not tried, which may be
// another image.
func TestNoOtherNameInAnOutage(t *testing.T) {
	t.Parallel()
	f := &fakeFetcher{fetch: func(context.Context, pullchain.Request) (pullchain.Response, error) {
		return pullchain.Response{}, &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError, Status: http.StatusBadGateway}
	}}
	h, _ := newHandler(t, Config{}, f)
	s := serve(t, h)
	g := do(t, s.Client(), "GET", s.URL+"/v2/ghcr.io/v2/owner/app/manifests/1?ns=ghcr.io")
	if diff := cmp.Diff([]string{"v2/owner/app"}, f.repos()); diff != "" || g.Status != http.StatusServiceUnavailable {
		t.Errorf("status %d, asked (-want +got):\n%s", g.Status, diff)
	}
}

// The version check is answered in every form.
func TestPingInEveryForm(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: healthy})
	s := serve(t, h)
	for _, path := range []string{
		"/v2", "/v2/", "/v2/?ns=ghcr.io", "/v2/ghcr.io/", "/ghcr/v2/", "/rk8s/v2/", "/v2/rk8s/", "/v2/ghcr/",
		"/v2/docker.io/v2/", "/v2/docker.io/v2?ns=docker.io", "/v2/ghcr.io/v2/?ns=ghcr.io",
	} {
		if g := do(t, s.Client(), "GET", s.URL+path); g.Status != http.StatusOK || g.Body != "{}" {
			t.Errorf("%s: %d %s", path, g.Status, g.Body)
		}
	}
}
