package front

import (
	"context"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/access"
)

// What caches in front of us are told: content of a digest for ever, a tag shortly, and never
// what is one client's, what is stale, or an error.
func TestCacheControl(t *testing.T) {
	t.Parallel()
	const forEver, never = "public, max-age=31536000, immutable", "private, no-store"
	byDigest := "/v2/alpine/manifests/" + manifestDigest.String()
	private := func(r *pullchain.Response) { r.Private = true }
	for _, tt := range []struct {
		name, method, url string
		ttl               time.Duration
		header            string
		change            func(*pullchain.Response)
		status            int
		want, vary        string
	}{
		{"blob", "GET", blobPath, 0, "X: y", nil, 200, forEver, ""},
		{"blob HEAD", "HEAD", blobPath, 0, "X: y", nil, 200, forEver, ""},
		{"part", "GET", blobPath, 0, "Range: bytes=5-9", nil, 206, forEver, ""},
		{"parts", "GET", blobPath, 0, "Range: bytes=0-1,5-9", nil, 206, forEver, ""},
		{"part of another", "GET", blobPath, 0, "If-Range: \"x\"", nil, 200, forEver, ""},
		{"manifest by digest", "GET", byDigest, 0, "X: y", nil, 200, forEver, "Accept"},
		{"not modified", "GET", byDigest, 0, `If-None-Match: "` + manifestDigest.String() + `"`, nil, 304, forEver, "Accept"},
		{"blob not modified", "GET", blobPath, 0, `If-None-Match: W/"` + layerDigest.String() + `"`, nil, 304, forEver, ""},
		{"tag", "GET", "/v2/alpine/manifests/3.20", 20 * time.Second, "X: y", nil, 200, "public, max-age=20", "Accept"},
		{"tag of a long time", "HEAD", "/v2/alpine/manifests/3.20", time.Hour, "X: y", nil, 200, "public, max-age=60", "Accept"},
		{"tag that is asked for each time", "GET", "/v2/alpine/manifests/3.20", 0, "X: y", nil, 200, "no-cache", "Accept"},
		{"stale tag", "GET", "/v2/alpine/manifests/3.20", time.Hour, "X: y", func(r *pullchain.Response) { r.Cache = pullchain.CacheStale }, 200, "no-store", "Accept"},
		{"tags", "GET", "/v2/alpine/tags/list", time.Hour, "X: y", nil, 200, "no-cache", ""},
		{"referrers", "GET", "/v2/alpine/referrers/" + manifestDigest.String(), time.Hour, "X: y", nil, 200, "no-cache", ""},
		{"private blob", "GET", blobPath, 0, "X: y", private, 200, never, ""},
		{"private tag", "GET", "/v2/alpine/manifests/3.20", time.Hour, "X: y", private, 200, never, "Accept"},
		{"private list", "GET", "/v2/alpine/tags/list", 0, "X: y", private, 200, never, ""},
		{"private, not modified", "GET", byDigest, 0, `If-None-Match: "` + manifestDigest.String() + `"`, private, 304, never, "Accept"},
		{"of a client with a login", "GET", blobPath, 0, "Authorization: Basic eDp5", nil, 200, never, ""},
		{"version check", "GET", "/v2/", time.Hour, "X: y", nil, 200, "no-store", ""},
		{"unknown registry", "GET", "/v2/unknown.example/a/manifests/1", time.Hour, "X: y", nil, 404, "no-store", ""},
		{"push", "PUT", blobPath, time.Hour, "X: y", nil, 405, "no-store", ""},
		{"preflight of a browser", "OPTIONS", blobPath, time.Hour, "Access-Control-Request-Method: GET", nil, 405, "no-store", ""},
		{"broken", "GET", blobPath, 0, "X: y", func(r *pullchain.Response) { r.Status = http.StatusFound }, 502, "no-store", ""},
	} {
		h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: healthy})
		routes, err := NewRoutes([]Registry{{Name: "docker.io", TagTTL: tt.ttl, Fetcher: &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			resp, err := healthy(ctx, req)
			if tt.change != nil {
				tt.change(&resp)
			}
			return resp, err
		}}}})
		if err != nil {
			t.Fatal(err)
		}
		h.SetRoutes(routes)
		s := serve(t, h)
		g := do(t, s.Client(), tt.method, s.URL+tt.url, tt.header)
		if g.Status != tt.status || g.Header.Get("Cache-Control") != tt.want || len(g.Header["Cache-Control"]) != 1 || g.Header.Get("Vary") != tt.vary {
			t.Errorf("%s: %d, Cache-Control %q, Vary %q; want %d, %q, %q", tt.name, g.Status, g.Header["Cache-Control"], g.Header.Get("Vary"), tt.status, tt.want, tt.vary)
		}
		if tt.status == 405 && g.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: Allow %q", tt.name, g.Header.Get("Allow"))
		}
	}
}

// Where addresses decide, no cache that many share keeps an answer.
func TestCacheControlByAddress(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: healthy})
	rules, err := access.New(access.Config{DenyCIDRs: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.SetAccess(rules)
	s := serve(t, h)
	for _, path := range []string{blobPath, "/v2/alpine/manifests/" + manifestDigest.String(), "/v2/alpine/manifests/3.20", "/v2/alpine/tags/list"} {
		if g := do(t, s.Client(), "GET", s.URL+path); g.Status != http.StatusOK || g.Header.Get("Cache-Control") != "private" {
			t.Errorf("%s: %d, Cache-Control %q", path, g.Status, g.Header.Get("Cache-Control"))
		}
	}
}
