package policy_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/front"
	"github.com/pullchain/pullchain/internal/leaktest"
	"github.com/pullchain/pullchain/internal/policy"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// sum is the digest of a name, in the place of content.
func sum(name string) digest.Digest { return digest.FromString(name) }

// registry answers every request: a tag means the digest of its name, and is an index of
// the two platforms of that name. It keeps a ledger.
type registry struct {
	mu    sync.Mutex
	asked []pullchain.Request
}

func (r *registry) Fetch(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, req)
	resp := pullchain.Response{Status: http.StatusOK, Body: pullchain.NoBody, Digest: req.Digest}
	if req.Tag != "" {
		resp.Digest = sum(req.Tag)
		if !req.Head {
			resp.Links = []pullchain.Descriptor{
				{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: sum(req.Tag + "/amd64")},
				{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: sum(req.Tag + "/layer")},
			}
		}
	}
	return resp, nil
}

// canonical is what a daemon knows of names.
func canonical(name string) string {
	name = strings.TrimSuffix(strings.ToLower(name), ":443")
	if name == "index.docker.io" || name == "hub" {
		return "docker.io"
	}
	return name
}

func open(t testing.TB, c policy.Config) (pullchain.Fetcher, *registry) {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	r := &registry{}
	return policy.New(c, canonical).Before(r), r
}

// read makes a request of "docker.io/library/redis:7", "…@NAME" (the manifest with the digest of
// NAME), "…#NAME" (a blob), "…~NAME" (referrers), or nothing behind the name (its tags).
func read(text string) pullchain.Request {
	registry, repo, _ := strings.Cut(text, "/")
	req := pullchain.Request{Registry: registry, Op: pullchain.Tags}
	if i := strings.IndexAny(repo, ":@#~"); i >= 0 {
		what, name := repo[i], repo[i+1:]
		repo = repo[:i]
		switch what {
		case ':':
			req.Op, req.Tag = pullchain.Manifest, name
		case '@':
			req.Op, req.Digest = pullchain.Manifest, sum(name)
		case '#':
			req.Op, req.Digest = pullchain.Blob, sum(name)
		case '~':
			req.Op, req.Digest = pullchain.Referrers, sum(name)
		}
	}
	req.Repo = repo
	return req
}

func TestRules(t *testing.T) {
	t.Parallel()
	at := func(name string) string { return "@" + sum(name).String() }
	for _, tt := range []struct {
		name     string
		cfg      policy.Config
		yes, no  string // one after the other, on one policy
		then     string // after them, allowed
		thenDeny string
	}{
		{"nothing said", policy.Config{}, "docker.io/library/redis:7 ghcr.io/o/a@x ghcr.io/o/a#x", "", "", ""},
		{"a repository", policy.Config{Deny: []string{"docker.io/library/redis"}}, "docker.io/library/redis2:7 docker.io/o/redis:7 ghcr.io/library/redis:7 docker.io/library/redis/x:7",
			"docker.io/library/redis:7 docker.io/library/redis:LATEST docker.io/library/redis@7 docker.io/library/redis#x docker.io/library/redis~7 docker.io/library/redis", "", ""},
		{"library/ left out", policy.Config{Deny: []string{"docker.io/redis"}}, "docker.io/library/nginx:1 quay.io/redis/redis:1", "docker.io/library/redis:7 docker.io/library/redis#x", "", ""},
		{"every registry's redis", policy.Config{Deny: []string{"*.*/redis"}}, "ghcr.io/o/redis:1", "docker.io/library/redis:7 ghcr.io/redis:1", "", ""},
		{"an alias of the registry", policy.Config{Deny: []string{"Index.Docker.io/library/redis"}}, "docker.io/library/nginx:1", "docker.io/library/redis:7 index.docker.io/library/redis:7 docker.io:443/library/redis:7", "", ""},
		{"components", policy.Config{Deny: []string{"ghcr.io/*/app"}}, "ghcr.io/app:1 ghcr.io/a/b/app:1 ghcr.io/a/app2:1", "ghcr.io/a/app:1", "", ""},
		{"any components", policy.Config{Deny: []string{"ghcr.io/a/**"}}, "ghcr.io/b/a:1", "ghcr.io/a/b:1 ghcr.io/a/b/c:1 ghcr.io/a:1", "", ""},
		{"in the middle", policy.Config{Deny: []string{"ghcr.io/**/secret"}}, "ghcr.io/a/secrets:1", "ghcr.io/secret:1 ghcr.io/a/secret:1 ghcr.io/a/b/secret@x", "", ""},
		{"all", policy.Config{Deny: []string{"**"}}, "", "ghcr.io/a/b:1 docker.io/library/redis#x registry.corp:5000/a", "", ""},
		{"a port", policy.Config{Deny: []string{"registry.corp:5000/app:1"}}, "registry.corp:5000/app:2 registry.corp:5001/app:1", "registry.corp:5000/app:1", "", ""},
		{"only these", policy.Config{Allow: []string{"docker.io/library/*", "ghcr.io/o/**"}}, "docker.io/library/redis:7 docker.io/library/redis@x docker.io/library/redis#x ghcr.io/o/a/b:1",
			"docker.io/o/redis:7 quay.io/o/a:1 ghcr.io/other/a#x ghcr.io/other/a", "", ""},
		{"deny comes first", policy.Config{Allow: []string{"docker.io/**"}, Deny: []string{"docker.io/library/redis"}}, "docker.io/library/nginx:1", "docker.io/library/redis:7", "", ""},
		{"a tag, and what it leads to", policy.Config{Deny: []string{"docker.io/library/redis:6*"}}, "docker.io/library/nginx:6 docker.io/library/redis#anything docker.io/library/redis",
			"docker.io/library/redis:6 docker.io/library/redis:6.2-alpine docker.io/library/redis@6 docker.io/library/redis~6 docker.io/library/redis@7", "docker.io/library/redis:7", "docker.io/library/redis@6"},
		{"a tag of another case", policy.Config{Deny: []string{"ghcr.io/o/a:RC*"}}, "ghcr.io/o/a:1", "ghcr.io/o/a:rc1 ghcr.io/o/a:Rc1", "", ""},
		{"only this tag", policy.Config{Allow: []string{"ghcr.io/o/a:v1"}}, "ghcr.io/o/a#x", "ghcr.io/o/a:v2 ghcr.io/o/a:V1 ghcr.io/o/a@v1/amd64 ghcr.io/o/a@v1", "ghcr.io/o/a:v1", "ghcr.io/o/b@v1 ghcr.io/o/a@v1/layer ghcr.io/o/a@v2"},
		{"only this digest", policy.Config{Allow: []string{"ghcr.io/o/a" + at("good")}}, "ghcr.io/o/a@good ghcr.io/o/a#x", "ghcr.io/o/a@bad ghcr.io/o/a:good", "", ""},
		{"a digest, by whatever leads to it", policy.Config{Deny: []string{"ghcr.io/o/a" + at("bad")}}, "ghcr.io/o/a:good ghcr.io/o/a@good ghcr.io/o/b@bad", "ghcr.io/o/a@bad ghcr.io/o/a:bad ghcr.io/o/a#bad ghcr.io/o/a~bad", "", ""},
		{"any digest", policy.Config{Deny: []string{"**@sha256:*"}}, "", "ghcr.io/o/a@x ghcr.io/o/a:x ghcr.io/o/a#x", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, r := open(t, tt.cfg)
			for _, step := range []struct {
				texts string
				ok    bool
			}{{tt.no, false}, {tt.yes, true}, {tt.no, false}, {tt.then, true}, {tt.thenDeny, false}} {
				for _, text := range strings.Fields(step.texts) {
					resp, err := f.Fetch(t.Context(), read(text))
					if err == nil {
						resp.Body.Close()
					}
					if (err == nil) != step.ok {
						t.Errorf("%s: %v, want allowed %t", text, err, step.ok)
					}
					e, isError := errors.AsType[*pullchain.Error](err)
					if err != nil && (!isError || e.Reason != pullchain.Denied || e.Code != pullchain.CodePolicy || !strings.Contains(e.Error(), "under [policy]")) {
						t.Errorf("%s: %+v", text, err)
					}
				}
			}
			if tt.then == "ghcr.io/o/a:v1" { // the index has led to its platforms
				for _, text := range []string{"ghcr.io/o/a@v1", "ghcr.io/o/a@v1/amd64", "ghcr.io/o/a~v1"} {
					if _, err := f.Fetch(t.Context(), read(text)); err != nil {
						t.Errorf("%s: %v", text, err)
					}
				}
			}
			for _, req := range r.asked {
				if slices.Contains(strings.Fields(tt.no), req.Image()) && !strings.Contains(tt.name, "leads to it") && tt.name != "any digest" {
					t.Errorf("the chain was asked for %s", req.Image())
				}
			}
		})
	}
}

func TestPin(t *testing.T) {
	t.Parallel()
	f, r := open(t, policy.Config{Pin: map[string]string{"docker.io/redis:7": sum("pinned").String()}, Deny: []string{"docker.io/library/redis:6"}})
	for text, want := range map[string]digest.Digest{
		"docker.io/library/redis:7": sum("pinned"), "docker.io/library/nginx:7": sum("7"), "docker.io/library/redis:8": sum("8"), "docker.io/o/redis:7": sum("7"),
	} {
		for _, head := range []bool{true, false} {
			req := read(text)
			req.Head = head
			if resp, err := f.Fetch(t.Context(), req); err != nil || resp.Digest != want {
				t.Errorf("%s: %s, %v; want %s", text, resp.Digest, err, want)
			}
		}
	}
	for _, req := range r.asked {
		if req.Repo == "library/redis" && req.Tag == "7" {
			t.Error("a registry was asked what a pinned tag means")
		}
	}
	if _, err := f.Fetch(t.Context(), read("docker.io/library/redis@pinned")); err != nil {
		t.Errorf("what the pin led to: %v", err)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg  policy.Config
		want string
	}{
		{policy.Config{Deny: []string{"redis:7"}}, "deny: entry 1: \"redis:7\" does not begin with a registry"},
		{policy.Config{Deny: []string{"a.b/c", "library/redis"}}, "deny: entry 2"},
		{policy.Config{Allow: []string{"ghcr.io"}}, "does not begin with a registry"},
		{policy.Config{Allow: []string{"ghcr.io//a"}}, "an empty component"},
		{policy.Config{Allow: []string{""}}, "does not begin"},
		{policy.Config{Allow: []string{"ghcr.io/a:"}}, "no tag behind its colon"},
		{policy.Config{Allow: []string{"ghcr.io/a@"}}, "no digest behind its @"},
		{policy.Config{Allow: []string{"ghcr.io/a:1@sha256:x"}}, "a tag and a digest"},
		{policy.Config{Allow: []string{"ghcr.io/[a"}}, "syntax error in pattern"},
		{policy.Config{Pin: map[string]string{"ghcr.io/a": sum("x").String()}}, "is not one tag"},
		{policy.Config{Pin: map[string]string{"ghcr.io/*:1": sum("x").String()}}, "is not one tag"},
		{policy.Config{Pin: map[string]string{"ghcr.io/a:1": "sha256:x"}}, "is no digest"},
	} {
		if err := tt.cfg.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.cfg, err, tt.want)
		}
	}
}

// FuzzNoWayRound asks a data plane by any path, host and query for what it does not let through: nothing
// of the two repositories, and of a third no tag but one, may be asked of a chain.
func FuzzNoWayRound(f *testing.F) {
	d := sum("x").String()
	for _, path := range []string{
		"/v2/redis/manifests/7", "/v2/library/redis/manifests/7", "/v2/docker.io/redis/manifests/7", "/v2/index.docker.io/library/redis/blobs/" + d,
		"/v2/ghcr.io/o/secret/manifests/" + d, "/hub/v2/redis/tags/list", "/v2/hub/v2/library/redis/manifests/7", "/v2/GHCR.io/o/secret/manifests/1", "/v2/ghcr.io:443/o/secret/manifests/1",
		"/v2/library%2fredis/manifests/7", "/v2/./library/redis/manifests/7", "/v2//library/redis/manifests/7", "/v2/Library/Redis/manifests/7", "/v2/docker.io/v2/library/redis/manifests/7",
		"/v2/ghcr.io/o/app/manifests/V2", "/v2/ghcr.io/o/app/manifests/v2", "/v2/ghcr.io/o/app/manifests/" + d, "/v2/o/secret/manifests/1", "/v2/docker.io/library/redis/referrers/" + d,
	} {
		for _, query := range []string{"", "ns=ghcr.io", "ns=docker.io", "ns=INDEX.docker.io"} {
			f.Add("localhost", path, query)
		}
		f.Add("ghcr.io", path, "")
		f.Add("index.docker.io:443", path, "")
	}
	chain := &registry{}
	cfg := policy.Config{Deny: []string{"docker.io/redis", "ghcr.io/o/secret", "ghcr.io/o/app:V2*"}, Allow: []string{"docker.io/**", "ghcr.io/o/**"}}
	if err := cfg.Validate(); err != nil {
		f.Fatal(err)
	}
	before := policy.New(cfg, canonical).Before(chain)
	routes, err := front.NewRoutes([]front.Registry{
		{Name: "docker.io", Aliases: []string{"index.docker.io", "hub"}, Fetcher: before}, {Name: "ghcr.io", Aliases: []string{"ghcr"}, Fetcher: before}, {Name: "quay.io", Fetcher: before},
	})
	if err != nil {
		f.Fatal(err)
	}
	h := front.New(front.Config{}, slog.New(slog.DiscardHandler))
	h.SetRoutes(routes)
	f.Fuzz(func(t *testing.T, host, path, query string) {
		r, err := http.NewRequest(http.MethodGet, "http://localhost/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host, r.URL.RawQuery, r.RemoteAddr = host, query, "127.0.0.1:1"
		r.URL.Path, r.URL.RawPath = path, path
		chain.mu.Lock()
		chain.asked = nil
		chain.mu.Unlock()
		func() {
			defer func() { _ = recover() }() // an answer that is cut
			h.ServeHTTP(httptest.NewRecorder(), r)
		}()
		chain.mu.Lock()
		defer chain.mu.Unlock()
		for _, req := range chain.asked {
			name := strings.ToLower(fmt.Sprint(req.Registry, "/", req.Repo))
			tag := strings.ToLower(req.Tag)
			if name == "docker.io/library/redis" || name == "docker.io/redis" || name == "ghcr.io/o/secret" || strings.HasPrefix(name, "quay.io/") ||
				name == "ghcr.io/o/app" && req.Op == pullchain.Manifest && (strings.HasPrefix(tag, "v2") || tag == "") {
				t.Errorf("%q at %q with %q: the chain was asked for %+v", path, host, query, req)
			}
		}
	})
}
