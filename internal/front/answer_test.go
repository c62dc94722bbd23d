package front

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
)

// withHeaders picks headers of an answer, missing ones left out.
func withHeaders(h http.Header, names ...string) map[string]string {
	m := make(map[string]string)
	for _, name := range names {
		if v, ok := h[http.CanonicalHeaderKey(name)]; ok {
			m[name] = strings.Join(v, " | ")
		}
	}
	return m
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	names := []string{
		"Content-Type", "Content-Length", "Content-Range", "Docker-Content-Digest", "Etag", "Accept-Ranges",
		"OCI-Namespace", "Cache-Status", "Proxy-Status", "Warning", "Docker-Distribution-Api-Version",
	}
	for _, tt := range goodAnswers() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: healthy})
			s := serve(t, h)
			g := do(t, s.Client(), tt.method, s.URL+tt.url, tt.header...)
			if g.Status != tt.status || g.Err != nil || g.Body != string(tt.body) {
				t.Errorf("status %d, %d bytes, %v; want %d, %d bytes", g.Status, len(g.Body), g.Err, tt.status, len(tt.body))
			}
			want := make(map[string]string)
			for _, m := range tt.want {
				for k, v := range m {
					want[k] = v
				}
			}
			if diff := cmp.Diff(want, withHeaders(g.Header, names...)); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
			if _, ok := g.Header["Www-Authenticate"]; ok {
				t.Error("a challenge was sent")
			}
		})
	}
}

type goodAnswer struct {
	name, method, url string
	header            []string
	status            int
	want              []map[string]string // merged
	body              []byte
}

func goodAnswers() []goodAnswer {
	sha := layerDigest.String()
	base := map[string]string{
		"OCI-Namespace": "docker.io", "Cache-Status": "pullchain; fwd=bypass",
		"Proxy-Status": `pullchain; next-hop="docker-hub"`, "Docker-Distribution-Api-Version": "registry/2.0",
	}
	manifest := map[string]string{
		"Content-Type": manifestType, "Content-Length": "19",
		"Docker-Content-Digest": manifestDigest.String(), "Etag": `"` + manifestDigest.String() + `"`,
	}
	blob := map[string]string{
		"Content-Type": "application/octet-stream", "Docker-Content-Digest": sha, "Etag": `"` + sha + `"`, "Accept-Ranges": "bytes",
	}
	return []goodAnswer{
		{"ping", "GET", "/v2/", nil, 200, []map[string]string{{
			"Content-Type": "application/json", "Content-Length": "2", "Docker-Distribution-Api-Version": "registry/2.0"}}, []byte("{}")},
		{"ping, no slash", "HEAD", "/v2", nil, 200, []map[string]string{{
			"Content-Type": "application/json", "Content-Length": "2", "Docker-Distribution-Api-Version": "registry/2.0"}}, nil},
		{"ping for a registry nobody knows", "GET", "/v2/?ns=nowhere.example", nil, 200, []map[string]string{{
			"Content-Type": "application/json", "Content-Length": "2", "Docker-Distribution-Api-Version": "registry/2.0"}}, []byte("{}")},
		{"ping by path", "GET", "/v2/ghcr.io/", nil, 200, []map[string]string{{
			"Content-Type": "application/json", "Content-Length": "2", "Docker-Distribution-Api-Version": "registry/2.0"}}, []byte("{}")},
		{"manifest", "GET", "/v2/alpine/manifests/3.20", nil, 200, []map[string]string{base, manifest}, []byte(manifestBytes)},
		{"manifest head", "HEAD", "/v2/alpine/manifests/3.20", nil, 200, []map[string]string{base, manifest}, nil},
		{"ns is echoed as it was sent", "HEAD", "/v2/alpine/manifests/3.20?ns=index.docker.io", nil, 200,
			[]map[string]string{base, manifest, {"OCI-Namespace": "index.docker.io"}}, nil},
		{"blob", "GET", blobPath, nil, 200, []map[string]string{base, blob, {"Content-Length": "1600000"}}, layer},
		{"blob head", "HEAD", blobPath, []string{"Range: bytes=5-9"}, 200, []map[string]string{base, blob, {"Content-Length": "1600000"}}, nil},
		{"blob part", "GET", blobPath, []string{"Range: bytes=5-9"}, 206, []map[string]string{base, blob, {
			"Content-Length": "5", "Content-Range": "bytes 5-9/1600000", "Cache-Status": "pullchain; fwd=bypass"}}, layer[5:10]},
		{"all of a blob by range", "GET", blobPath, []string{"Range: bytes=0-"}, 206, []map[string]string{base, blob, {
			"Content-Length": "1600000", "Content-Range": "bytes 0-1599999/1600000", "Cache-Status": "pullchain; fwd=bypass"}}, layer},
		{"blob tail", "GET", blobPath, []string{"Range: bytes=1599990-"}, 206, []map[string]string{base, blob, {
			"Content-Length": "10", "Content-Range": "bytes 1599990-1599999/1600000", "Cache-Status": "pullchain; fwd=bypass"}}, layer[1599990:]},
		{"blob suffix", "GET", blobPath, []string{"Range: bytes=-3"}, 206, []map[string]string{base, blob, {
			"Content-Length": "3", "Content-Range": "bytes 1599997-1599999/1600000", "Cache-Status": "pullchain; fwd=bypass"}}, layer[1599997:]},
		{"parts that are more than the whole", "GET", blobPath, []string{"Range: bytes=0-,4-5"}, 200,
			[]map[string]string{base, blob, {"Content-Length": "1600000"}}, layer},
		{"not modified", "GET", "/v2/alpine/manifests/3.20", []string{`If-None-Match: "x", W/"` + manifestDigest.String() + `"`}, 304,
			[]map[string]string{base, {"Docker-Content-Digest": manifestDigest.String(), "Etag": `"` + manifestDigest.String() + `"`}}, nil},
		{"modified", "GET", "/v2/alpine/manifests/3.20", []string{`If-None-Match: "x"`}, 200, []map[string]string{base, manifest}, []byte(manifestBytes)},
		{"tags", "GET", "/v2/alpine/tags/list", nil, 200, []map[string]string{base, {
			"Content-Type": "application/json", "Content-Length": "41"}}, []byte(`{"name":"library/alpine","tags":["3.20"]}`)},
		{"referrers", "GET", "/v2/alpine/referrers/" + sha, nil, 200, []map[string]string{base, {
			"Content-Type": "application/vnd.oci.image.index.v1+json", "Content-Length": "34"}}, []byte(`{"schemaVersion":2,"manifests":[]}`)},
	}
}

// A client that takes one type alone gets the upstream's label, if it is that.
func TestLabelOfAManifest(t *testing.T) {
	t.Parallel()
	const docker = "application/vnd.docker.distribution.manifest.v2+json"
	for _, tt := range []struct {
		label, want string
		accept      []string
	}{
		{docker, docker, []string{"Accept: " + docker}},
		{docker, manifestType, []string{"Accept: " + docker + ", */*"}},
		{docker, manifestType, []string{"Accept: " + docker, "Accept: " + manifestType}},
		{docker, manifestType, nil},
		{"", manifestType, []string{"Accept: " + docker}},
	} {
		h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			resp, err := healthy(ctx, req)
			if tt.label != "" {
				resp.Header = http.Header{"Content-Type": {tt.label}}
			}
			return resp, err
		}})
		s := serve(t, h)
		if got := do(t, s.Client(), "GET", s.URL+"/v2/alpine/manifests/3.20", tt.accept...).Header.Get("Content-Type"); got != tt.want {
			t.Errorf("label %q, accept %v: %q, want %q", tt.label, tt.accept, got, tt.want)
		}
	}
}

// Nothing of an upstream's headers goes out but what is meant to.
func TestOnlyListedHeadersGoOut(t *testing.T) {
	t.Parallel()
	f := &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp, err := healthy(ctx, req)
		resp.Header = http.Header{
			"Set-Cookie": {"a=b"}, "Www-Authenticate": {`Bearer realm="https://evil.example"`}, "Location": {"https://evil.example"},
			"Server": {"nginx"}, "Alt-Svc": {`h3=":443"`}, "Strict-Transport-Security": {"max-age=1"}, "X-Upstream": {"x"},
			"Content-Encoding": {"gzip"}, "Transfer-Encoding": {"chunked"}, "Docker-Content-Digest": {"sha256:bad"},
			"Warning": {`299 - "upstream"`}, "Link": {`<https://evil.example>; rel="next"`}, "Content-Security-Policy": {"x"},
		}
		return resp, err
	}}
	h, _ := newHandler(t, Config{}, f)
	s := serve(t, h)
	allowed := map[string][]string{
		"/v2/alpine/manifests/3.20": {"Content-Length", "Content-Type", "Docker-Content-Digest", "Etag", "Vary"},
		blobPath:                    {"Accept-Ranges", "Content-Length", "Content-Type", "Docker-Content-Digest", "Etag", "X-Content-Type-Options"},
	}
	for url, names := range allowed {
		g := do(t, s.Client(), "GET", s.URL+url)
		want := slices.Sorted(slices.Values(append([]string{
			"Cache-Control", "Cache-Status", "Date", "Docker-Distribution-Api-Version", "Oci-Namespace", "Proxy-Status"}, names...)))
		var have []string
		for name := range g.Header {
			have = append(have, name)
		}
		slices.Sort(have)
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s (-want +got):\n%s", url, diff)
		}
		if d := g.Header.Get("Docker-Content-Digest"); strings.Contains(d, "bad") {
			t.Errorf("the upstream's digest header went out: %s", d)
		}
	}
}

// Links of paging are ours again: relative, on the client's path, with its ns.
func TestTagsLink(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, url, link, want string }{
		{"absolute", "/v2/library/alpine/tags/list?n=2", `<https://registry-1.docker.io/v2/library/alpine/tags/list?n=2&last=b>; rel="next"`,
			`</v2/library/alpine/tags/list?last=b&n=2>; rel="next"`},
		{"relative, short name", "/v2/alpine/tags/list?n=2", `</v2/library/alpine/tags/list?n=2&last=b>; rel="next"`,
			`</v2/alpine/tags/list?last=b&n=2>; rel="next"`},
		{"ns", "/v2/o/a/tags/list?n=2&ns=ghcr.io", `</v2/o/a/tags/list?last=b&n=2>; rel="next"`,
			`</v2/o/a/tags/list?last=b&n=2&ns=ghcr.io>; rel="next"`},
		{"path", "/v2/ghcr.io/o/a/tags/list", `</v2/o/a/tags/list?last=b&n=2>; rel="next"`,
			`</v2/ghcr.io/o/a/tags/list?last=b&n=2>; rel="next"`},
		{"alias before", "/ghcr/v2/o/a/tags/list", `</v2/o/a/tags/list?last=b&n=2>; rel="next"`,
			`</ghcr/v2/o/a/tags/list?last=b&n=2>; rel="next"`},
		{"none", "/v2/o/a/tags/list?n=0", "", ""},
		{"another relation", "/v2/alpine/tags/list", `</v2/x>; rel="prev"`, ""},
		{"garbage", "/v2/alpine/tags/list", `next please`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
				resp, err := healthy(ctx, req)
				resp.Header = http.Header{"Oci-Filters-Applied": {"artifactType"}}
				if tt.link != "" {
					resp.Header.Set("Link", tt.link)
				}
				return resp, err
			}})
			s := serve(t, h)
			g := do(t, s.Client(), "GET", s.URL+tt.url)
			if link := g.Header.Get("Link"); g.Status != 200 || link != tt.want {
				t.Errorf("%d, Link %q, want %q", g.Status, link, tt.want)
			}
			if f := g.Header.Get("OCI-Filters-Applied"); f != "artifactType" {
				t.Errorf("OCI-Filters-Applied %q", f)
			}
		})
	}
}

// Of a query that no list has, what the registry's own Link has named goes on, as its
// cursor; by another registry's it is not named.
func TestCursorsOfARegistry(t *testing.T) {
	t.Parallel()
	up := &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp, err := healthy(ctx, req)
		if req.Registry == "ghcr.io" && req.Query == "n=2" {
			resp.Header = http.Header{"Link": {`</v2/o/a/tags/list?n=2&page_token=opaque%2F1>; rel="next"`}}
		}
		return resp, err
	}}
	h, _ := newHandler(t, Config{}, up)
	s := serve(t, h)
	ask := func(path, want string) string {
		t.Helper()
		g := do(t, s.Client(), "GET", s.URL+path)
		asked := up.ledger()
		if got := asked[len(asked)-1].Query; g.Status != 200 || got != want {
			t.Errorf("%s: %d, asked with %q, want %q", path, g.Status, got, want)
		}
		return g.Header.Get("Link")
	}
	const next = "/v2/ghcr.io/o/a/tags/list?n=2&page_token=opaque%2F1"
	ask(next, "n=2")
	if link := ask("/v2/ghcr.io/o/a/tags/list?n=2", "n=2"); link != "<"+next+`>; rel="next"` {
		t.Errorf("Link %q", link)
	}
	ask(next, "n=2&page_token=opaque%2F1")
	ask("/v2/o/a/tags/list?n=2&page_token=x", "n=2")
}

// docs/protocol.md 5.10: people are told when a pull was degraded, in the standard
// headers, and only then.
func TestDegradedIsTold(t *testing.T) {
	t.Parallel()
	limited := &pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, RetryAfter: 14 * time.Minute}
	tests := []struct {
		name                           string
		attempts                       []pullchain.Attempt
		proxyStatus, warning, cachedAs string
	}{
		{
			"failover", []pullchain.Attempt{{Upstream: "docker-hub", Err: limited}, {Upstream: "cf-worker"}},
			`pullchain; next-hop="cf-worker"; details="docker-hub http_429_quota"`,
			`299 - "docker-hub http_429_quota, served by cf-worker"`, "pullchain; fwd=bypass",
		},
		{
			"gate", []pullchain.Attempt{{Upstream: "docker-hub", Gate: "cooldown", Err: limited}, {Upstream: "m1", Gate: "probe"}, {Upstream: "cf-worker"}},
			`pullchain; next-hop="cf-worker"; details="docker-hub http_429_quota, m1 probe"`,
			`299 - "docker-hub http_429_quota, m1 probe, served by cf-worker"`, "pullchain; fwd=bypass",
		},
		{
			"a mirror without the image is no trouble",
			[]pullchain.Attempt{{Upstream: "mirror", Err: &pullchain.Error{Reason: pullchain.NotFound, Code: pullchain.CodeNotFound}}, {Upstream: "docker-hub"}},
			`pullchain; next-hop="docker-hub"`, "", "pullchain; fwd=bypass",
		},
		{
			"nor is one that is known not to have it",
			[]pullchain.Attempt{{Upstream: "mirror", Gate: "absent", Err: &pullchain.Error{Reason: pullchain.NotFound}}, {Upstream: "docker-hub"}},
			`pullchain; next-hop="docker-hub"`, "", "pullchain; fwd=bypass",
		},
		{
			"the loser of a race is no trouble",
			[]pullchain.Attempt{{Upstream: "a", Hedge: true, Err: &pullchain.Error{Reason: pullchain.Canceled}}, {Upstream: "b"}},
			`pullchain; next-hop="b"`, "", "pullchain; fwd=bypass",
		},
		{"quotes and worse in a name", []pullchain.Attempt{{Upstream: "a\"\r\nX: é", Err: limited}, {Upstream: "b"}},
			`pullchain; next-hop="b"; details="a\"??X: ? http_429_quota"`, `299 - "a\"??X: ? http_429_quota, served by b"`, "pullchain; fwd=bypass"},
		{"nobody was asked", nil, "", "", "pullchain; hit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
				resp, err := healthy(ctx, req)
				resp.Attempts = tt.attempts
				return resp, err
			}})
			s := serve(t, h)
			for _, method := range []string{"GET", "HEAD"} {
				g := do(t, s.Client(), method, s.URL+"/v2/alpine/manifests/3.20")
				if p, w, c := g.Header.Get("Proxy-Status"), g.Header.Get("Warning"), g.Header.Get("Cache-Status"); p != tt.proxyStatus || w != tt.warning || c != tt.cachedAs {
					t.Errorf("%s: Proxy-Status %s\nWarning %s\nCache-Status %s", method, p, w, c)
				}
			}
			if g := do(t, s.Client(), "GET", s.URL+blobPath); g.Header.Get("Warning") != "" {
				t.Errorf("a blob warns: %s", g.Header.Get("Warning"))
			}
		})
	}
}

func TestWarningIsShort(t *testing.T) {
	t.Parallel()
	var attempts []pullchain.Attempt
	for range 60 {
		attempts = append(attempts, pullchain.Attempt{Upstream: strings.Repeat("u", 60), Gate: "breaker"})
	}
	attempts = append(attempts, pullchain.Attempt{Upstream: "last"})
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp, err := healthy(ctx, req)
		resp.Attempts = attempts
		return resp, err
	}})
	s := serve(t, h)
	warning := do(t, s.Client(), "HEAD", s.URL+"/v2/alpine/manifests/3.20").Header.Get("Warning")
	if len(warning) == 0 || len(warning) > maxWarning || !strings.HasSuffix(warning, `..., served by last"`) {
		t.Errorf("%d bytes: %s", len(warning), warning)
	}
}

// A chain that breaks its contract gets a 502 in words, never wrong bytes.
func TestBrokenContract(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		header  []string
		respond func(*pullchain.Response)
	}{
		{"a part nobody asked for", nil, func(r *pullchain.Response) {
			r.Status, r.Range = http.StatusPartialContent, pullchain.Range{To: 5}
		}},
		{"another part", []string{"Range: bytes=5-9"}, func(r *pullchain.Response) { r.Range = pullchain.Range{From: 6, To: 11} }},
		{"an empty part", []string{"Range: bytes=5-9"}, func(r *pullchain.Response) { r.Range = pullchain.Range{From: 5, To: 5} }},
		{"a redirect", nil, func(r *pullchain.Response) { r.Status = http.StatusFound }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			closed := 0
			h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
				resp := blobResponse(req)
				tt.respond(&resp)
				part := layer[:length(&resp)] // of the length that is declared
				resp.Body = &fakeBody{read: bytes.NewReader(part).Read, closed: func() { closed++ }}
				return resp, nil
			}})
			s := serve(t, h)
			g := do(t, s.Client(), "GET", s.URL+blobPath, tt.header...)
			s.Close() // the handler is done
			if e := decodeError(t, g.Body); g.Status != http.StatusBadGateway || e.Code != "UNKNOWN" {
				t.Errorf("%d %+v", g.Status, e)
			}
			if closed != 1 {
				t.Errorf("the body was closed %d times", closed)
			}
		})
	}
}

// An upstream that does not honour Range is served whole, with 200.
func TestIgnoredRangeIsServedWhole(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
		req.Range = pullchain.Range{}
		return blobResponse(req), nil
	}})
	s := serve(t, h)
	g := do(t, s.Client(), "GET", s.URL+blobPath, "Range: bytes=5-9")
	if g.Status != 200 || g.Header.Get("Content-Range") != "" || g.Body != string(layer) {
		t.Errorf("%d, %d bytes, %v", g.Status, len(g.Body), g.Header)
	}
}

// A body of unknown size is chunked, and complete.
func TestUnknownSize(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp := blobResponse(req)
		resp.Size = -1
		return resp, nil
	}})
	s := serve(t, h)
	g := do(t, s.Client(), "GET", s.URL+blobPath)
	if g.Status != 200 || g.Header.Get("Content-Length") != "" || g.Body != string(layer) || g.Err != nil {
		t.Errorf("%d, %d bytes, %v, %v", g.Status, len(g.Body), g.Err, g.Header)
	}
	if g := do(t, s.Client(), "HEAD", s.URL+blobPath); g.Status != 200 || g.Body != "" {
		t.Errorf("HEAD: %d, %d bytes", g.Status, len(g.Body))
	}
}

// An empty blob is a blob.
func TestEmptyBlob(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp := blobResponse(req)
		resp.Size, resp.Body = 0, pullchain.NoBody
		return resp, nil
	}})
	s := serve(t, h)
	g := do(t, s.Client(), "GET", s.URL+blobPath)
	if g.Status != 200 || g.Header.Get("Content-Length") != "0" || g.Body != "" || g.Err != nil {
		t.Errorf("%d, %q, %v", g.Status, g.Body, g.Err)
	}
}
