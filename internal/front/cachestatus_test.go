package front

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
)

// What the cache had to do with an answer is said in the standard headers, and in
// the log.
func TestCacheIsTold(t *testing.T) {
	t.Parallel()
	limited := &pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, RetryAfter: 14 * time.Minute}
	failed := []pullchain.Attempt{
		{Upstream: "docker-hub", Err: limited},
		{Upstream: "cf-worker", Err: &pullchain.Error{Code: pullchain.CodeConnRefused}},
	}
	tests := []struct {
		name     string
		cache    pullchain.CacheResult
		age      time.Duration
		attempts []pullchain.Attempt
		header   map[string]string
		log      map[string]any
	}{
		{"hit by digest", pullchain.CacheHit, 0, nil,
			map[string]string{"Cache-Status": "pullchain; hit"},
			map[string]any{"cache": "hit"}},
		{"hit by tag", pullchain.CacheHit, 59900 * time.Millisecond, nil,
			map[string]string{"Cache-Status": "pullchain; hit", "Age": "59"},
			map[string]any{"cache": "hit"}},
		{"confirmed a moment ago", pullchain.CacheHit, 100 * time.Millisecond, nil,
			map[string]string{"Cache-Status": "pullchain; hit", "Age": "0"},
			map[string]any{"cache": "hit"}},
		{"confirmed for this very request", pullchain.CacheHit, time.Millisecond, served("cf-worker"),
			map[string]string{"Cache-Status": "pullchain; fwd=stale; stored", "Proxy-Status": `pullchain; next-hop="cf-worker"`},
			map[string]any{"cache": "hit", "upstream": "cf-worker", "trace": "cf-worker:ok(38ms)"}},
		{"miss", pullchain.CacheMiss, 0, served("docker-hub"),
			map[string]string{"Cache-Status": "pullchain; fwd=miss; stored", "Proxy-Status": `pullchain; next-hop="docker-hub"`},
			map[string]any{"cache": "miss", "upstream": "docker-hub", "trace": "docker-hub:ok(38ms)"}},
		{"coalesced", pullchain.CacheCoalesced, 0, nil,
			map[string]string{"Cache-Status": "pullchain; fwd=miss; collapsed"},
			map[string]any{"cache": "coalesced"}},
		{"bypass", pullchain.CacheBypass, 0, served("docker-hub"),
			map[string]string{"Cache-Status": "pullchain; fwd=bypass", "Proxy-Status": `pullchain; next-hop="docker-hub"`},
			map[string]any{"cache": "bypass", "upstream": "docker-hub", "trace": "docker-hub:ok(38ms)"}},
		{"stale", pullchain.CacheStale, 12*time.Minute + 59*time.Second, failed,
			map[string]string{
				"Cache-Status": "pullchain; hit; ttl=-779", "Age": "779",
				"Proxy-Status": `pullchain; error=destination_unavailable; details="docker-hub http_429_quota, cf-worker conn_refused"`,
				"Warning":      `299 - "served from the cache, last confirmed 12 min ago: docker-hub http_429_quota, cf-worker conn_refused"`,
			},
			map[string]any{"cache": "stale", "age_s": 779.0, "trace": "docker-hub:http_429_quota(0ms) cf-worker:conn_refused(0ms)"}},
		{"stale, though one has said HEAD", pullchain.CacheStale, time.Millisecond,
			[]pullchain.Attempt{{Upstream: "docker-hub"}, {Upstream: "docker-hub", Err: limited}},
			map[string]string{
				"Cache-Status": "pullchain; hit; ttl=-1", "Age": "0",
				"Proxy-Status": `pullchain; error=destination_unavailable; details="docker-hub http_429_quota"`,
				"Warning":      `299 - "served from the cache, last confirmed 0 s ago: docker-hub http_429_quota"`,
			},
			map[string]any{"cache": "stale", "age_s": 0.0, "trace": "docker-hub:ok(0ms) docker-hub:http_429_quota(0ms)"}},
		{"stale, and nobody was asked again yet", pullchain.CacheStale, 50 * time.Hour, nil,
			map[string]string{
				"Cache-Status": "pullchain; hit; ttl=-180000", "Age": "180000",
				"Warning": `299 - "served from the cache, last confirmed 2 days ago"`,
			},
			map[string]any{"cache": "stale", "age_s": 180000.0}},
		{"no cache", "", 0, served("docker-hub"),
			map[string]string{"Cache-Status": "pullchain; fwd=bypass", "Proxy-Status": `pullchain; next-hop="docker-hub"`},
			map[string]any{"upstream": "docker-hub", "trace": "docker-hub:ok(38ms)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, logs := newHandler(t, Config{}, &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
				resp, err := healthy(ctx, req)
				resp.Cache, resp.Age, resp.Attempts = tt.cache, tt.age, tt.attempts
				return resp, err
			}})
			s := serve(t, h)
			for _, method := range []string{"GET", "HEAD"} {
				g := do(t, s.Client(), method, s.URL+"/v2/alpine/manifests/3.20")
				have := withHeaders(g.Header, "Cache-Status", "Proxy-Status", "Warning", "Age")
				if diff := cmp.Diff(tt.header, have); g.Status != 200 || diff != "" {
					t.Errorf("%s: %d (-want +got):\n%s", method, g.Status, diff)
				}
			}
			g := do(t, s.Client(), "GET", s.URL+blobPath)
			if g.Header.Get("Warning") != "" || g.Header.Get("Cache-Status") != tt.header["Cache-Status"] {
				t.Errorf("blob: %v", g.Header)
			}
			s.Close()
			for _, line := range logs.access(t) {
				have := make(map[string]any)
				for _, name := range []string{"cache", "age_s", "upstream", "trace"} {
					if v, ok := line[name]; ok {
						have[name] = v
					}
				}
				if diff := cmp.Diff(tt.log, have); line["level"] != "INFO" || diff != "" {
					t.Errorf("log (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// An answer that could not be given says nothing of a cache, however far it got.
func TestErrorsSayNothingOfTheCache(t *testing.T) {
	t.Parallel()
	h, logs := newHandler(t, Config{}, &fakeFetcher{fetch: func(context.Context, pullchain.Request) (pullchain.Response, error) {
		return pullchain.Response{}, errCut
	}})
	s := serve(t, h)
	g := do(t, s.Client(), "GET", s.URL+blobPath)
	s.Close()
	if line := logs.access(t)[0]; g.Status != 503 || g.Header.Get("Cache-Status") != "" || line["cache"] != nil {
		t.Errorf("%d %v %v", g.Status, g.Header, line)
	}
}

func TestStaleWarningIsShort(t *testing.T) {
	t.Parallel()
	var attempts []pullchain.Attempt
	for range 60 {
		attempts = append(attempts, pullchain.Attempt{Upstream: strings.Repeat("u", 60), Gate: "breaker"})
	}
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp, err := healthy(ctx, req)
		resp.Cache, resp.Age, resp.Attempts = pullchain.CacheStale, time.Hour, attempts
		return resp, err
	}})
	s := serve(t, h)
	warning := do(t, s.Client(), "HEAD", s.URL+"/v2/alpine/manifests/3.20").Header.Get("Warning")
	if len(warning) > maxWarning || !strings.HasPrefix(warning, `299 - "served from the cache, last confirmed 1 h ago: uuu`) || !strings.HasSuffix(warning, `..."`) {
		t.Errorf("%d bytes: %s", len(warning), warning)
	}
}

func TestAgo(t *testing.T) {
	t.Parallel()
	tests := map[time.Duration]string{
		0:                               "0 s ago",
		59*time.Second + 999999999:      "59 s ago",
		time.Minute:                     "1 min ago",
		59*time.Minute + 59*time.Second: "59 min ago",
		time.Hour:                       "1 h ago",
		47 * time.Hour:                  "47 h ago",
		48 * time.Hour:                  "2 days ago",
		167 * time.Hour:                 "6 days ago",
	}
	for d, want := range tests {
		if s := ago(d); s != want {
			t.Errorf("%s: %q, want %q", d, s, want)
		}
	}
}

// Headers are set by their canonical names without a look at the name: a wrong
// one would go out twice, or not be found by what comes to delete it.
func TestHeaderNamesAreCanonical(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp, err := healthy(ctx, req)
		resp.Cache, resp.Age = pullchain.CacheStale, time.Hour
		resp.Attempts = []pullchain.Attempt{{Upstream: "docker-hub", Gate: "breaker"}}
		resp.Header = http.Header{"Oci-Filters-Applied": {"artifactType"}, "Link": {`</v2/library/alpine/tags/list?n=2&last=b>; rel="next"`}}
		return resp, err
	}})
	for _, url := range []string{"/v2/", "/v2/alpine/manifests/3.20", blobPath, "/v2/alpine/tags/list"} {
		w := &deaf{header: make(http.Header)}
		r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://localhost"+url, nil)
		r.Header["Range"] = []string{"bytes=1-2"}
		h.ServeHTTP(w, r)
		if len(w.header) < 4 {
			t.Errorf("%s: %v", url, w.header)
		}
		for name, values := range w.header {
			if name != http.CanonicalHeaderKey(name) || len(values) != 1 {
				t.Errorf("%s: %s: %q", url, name, values)
			}
		}
	}
}
