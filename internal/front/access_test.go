package front

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
)

// The access-log line, whole.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	h, logs := newHandler(t, Config{}, &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp, err := healthy(ctx, req)
		resp.Attempts = []pullchain.Attempt{
			{Upstream: "docker-hub", Took: 3 * time.Millisecond, Err: quota},
			{Upstream: "m1", Took: 40 * time.Millisecond, Hedge: true, Err: &pullchain.Error{Reason: pullchain.Canceled, Code: pullchain.CodeCanceled}},
			{Upstream: "cf-worker", Took: 38 * time.Millisecond},
		}
		return resp, err
	}})
	s := serve(t, h)
	do(t, s.Client(), "GET", s.URL+blobPath+"?ns=docker.io", "User-Agent: docker/29.7 go/go1.26", "Range: bytes=10-19")
	s.Close()
	line := logs.access(t)[0]
	for _, name := range []string{"time", "ms", "ttfb_ms", "id"} {
		if line[name] == nil {
			t.Errorf("no %s", name)
		}
		delete(line, name)
	}
	want := map[string]any{
		"level": "INFO", "msg": "request", "method": "GET", "status": 206.0, "registry": "docker.io", "repo": "library/alpine",
		"ref": layerDigest.String(), "op": "blob", "bytes": 10.0, "addr": "127.0.0.1", "client": "docker", "form": "ns",
		"range": "bytes=10-19", "upstream": "cf-worker",
		"trace": "docker-hub:http_429_quota(3ms) +m1:canceled(40ms) cf-worker:ok(38ms)",
	}
	if diff := cmp.Diff(want, line); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

// Whatever a client sends, there is one line for each request.
func TestOneLineForEachRequest(t *testing.T) {
	t.Parallel()
	h, logs := newHandler(t, Config{}, &fakeFetcher{fetch: healthy})
	s := serve(t, h)
	for _, url := range []string{"/v2/", "/v2/alpine/manifests/1", "/nothing\nhere", "/v2/quay.io/a/b/manifests/1", "/v2/UP/manifests/1"} {
		do(t, s.Client(), "GET", s.URL+strings.ReplaceAll(url, "\n", "%0A"))
	}
	s.Close()
	var have []string
	for _, line := range logs.access(t) {
		have = append(have, line["level"].(string))
	}
	if diff := cmp.Diff([]string{"INFO", "INFO", "WARN", "WARN", "WARN"}, have); diff != "" {
		t.Errorf("levels (-want +got):\n%s", diff)
	}
}

func TestClientFamily(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"docker/20.10.24+dfsg1 go/go1.19.8 git-commit/5d6db84 kernel/6.1 os/linux arch/amd64 UpstreamClient(Docker-Client/20.10.24)": "docker",
		"containerd/1.6.20":         "containerd",
		"containerd/v2.1.0+unknown": "containerd",
		"buildkit/v0.12":            "buildkit",
		"libpod/4.3.1":              "podman",
		"skopeo/1.9.3":              "podman",
		"Buildah/1.28":              "podman",
		"cri-o/1.30.0 go/go1.22 os/linux arch/amd64":    "podman",
		"containers/5.23 (github.com/containers/image)": "podman",
		"crane/0.20 go-containerregistry/0.20":          "crane",
		"go-containerregistry/0.22.1":                   "crane",
		"curl/8.0":                                      "other",
		"":                                              "other",
		"Mozilla/5.0 docker/1":                          "other",
	}
	for agent, want := range tests {
		if got := clientFamily(agent); got != want {
			t.Errorf("%q: %s, want %s", agent, got, want)
		}
	}
}

// X-Forwarded-For is believed only as far as proxies that are trusted wrote it.
func TestClientAddr(t *testing.T) {
	t.Parallel()
	trusted := trustedProxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	tests := []struct {
		name, remote string
		forwarded    []string
		trusted      trustedProxies
		want         string
	}{
		{"nobody trusted", "10.0.0.1:99", []string{"203.0.113.9"}, nil, "10.0.0.1"},
		{"not from a proxy", "192.0.2.7:99", []string{"203.0.113.9"}, trusted, "192.0.2.7"},
		{"one proxy", "10.0.0.1:99", []string{"203.0.113.9"}, trusted, "203.0.113.9"},
		{"two proxies", "10.0.0.1:99", []string{"203.0.113.9, 10.0.0.2"}, trusted, "203.0.113.9"},
		{"two headers", "10.0.0.1:99", []string{"203.0.113.9", "10.0.0.2"}, trusted, "203.0.113.9"},
		{"made up by the client", "10.0.0.1:99", []string{"127.0.0.1, 203.0.113.9"}, trusted, "203.0.113.9"},
		{"garbage", "10.0.0.1:99", []string{"127.0.0.1, unknown"}, trusted, "10.0.0.1"},
		{"none", "10.0.0.1:99", nil, trusted, "10.0.0.1"},
		{"only proxies", "10.0.0.1:99", []string{"10.0.0.3"}, trusted, "10.0.0.3"},
		{"IPv6", "[fd00::1]:99", []string{"2001:db8::1"}, trusted, "2001:db8::1"},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:99", []string{"::ffff:203.0.113.9"}, trusted, "203.0.113.9"},
		{"a Unix socket", "@", []string{"203.0.113.9"}, trusted, "invalid IP"},
	}
	for _, tt := range tests {
		r := &http.Request{RemoteAddr: tt.remote, Header: http.Header{"X-Forwarded-For": tt.forwarded}}
		if got := tt.trusted.clientAddr(r).String(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// DNS rebinding (docs/faults.md 6): a page whose name now means 127.0.0.1 comes with
// its own name.
func TestHostAllowlist(t *testing.T) {
	t.Parallel()
	local, open := Config{}, Config{Listen: ":5151"}
	strict := Config{Listen: "0.0.0.0:5151", AllowedHosts: []string{"Mirror.example.com", "*.cluster.local", "odd.example:8443"}}
	tests := []struct {
		config Config
		host   string
		want   int
	}{
		{local, "127.0.0.1:5151", 200}, {local, "localhost:5151", 200}, {local, "LOCALHOST", 200}, {local, "[::1]:5151", 200},
		{local, "[::1]", 200}, {local, "192.168.1.5:5151", 200}, {local, "pull.localhost:5151", 200}, {local, "localhost.:5151", 200},
		{local, "host.docker.internal:5151", 200}, {local, "ghcr.io", 200}, {local, "registry-1.docker.io", 200},
		{local, "ghcr.mirror.example.com", 200}, {local, "registry.corp:5000", 200},
		{local, "evil.example", 403}, {local, "evil.example:5151", 403}, {local, "ghcr", 403}, {local, "localhost.evil.example", 403},
		{local, "127.0.0.1.evil.example", 403}, {local, "notghcr.io", 403},
		{Config{Listen: "[::1]:5151"}, "evil.example", 403},
		{Config{Listen: "localhost:5151"}, "evil.example", 403},
		{open, "mirror.corp:5151", 200}, {open, "10.0.0.5:5151", 200},
		{strict, "mirror.example.com", 200}, {strict, "MIRROR.example.com:443", 200}, {strict, "a.b.cluster.local", 200},
		{strict, "odd.example:8443", 200}, {strict, "odd.example:8444", 403}, {strict, "cluster.local", 403},
		{strict, "xcluster.local", 403}, {strict, "10.0.0.5", 200}, {strict, "evil.example", 403},
	}
	for _, tt := range tests {
		t.Run(tt.config.Listen+" "+tt.host, func(t *testing.T) {
			t.Parallel()
			f := &fakeFetcher{fetch: healthy}
			h, _ := newHandler(t, tt.config, f)
			s := serve(t, h)
			g := do(t, s.Client(), "GET", s.URL+"/v2/alpine/manifests/1", "Host: "+tt.host)
			if g.Status != tt.want || len(f.ledger()) > 0 != (tt.want == 200) {
				t.Errorf("%d, the chain was asked %d times; want %d", g.Status, len(f.ledger()), tt.want)
			}
			if tt.want == 403 {
				if e := decodeError(t, g.Body); e.Code != "DENIED" || !strings.Contains(e.Message, "allowed_hosts") {
					t.Errorf("%+v", e)
				}
			}
		})
	}
}

// A web page of another site cannot spend the pull quota.
func TestCrossSiteRequests(t *testing.T) {
	t.Parallel()
	for site, want := range map[string]int{"": 200, "none": 200, "same-origin": 200, "cross-site": 403, "same-site": 403} {
		f := &fakeFetcher{fetch: healthy}
		h, _ := newHandler(t, Config{}, f)
		s := serve(t, h)
		var header []string
		if site != "" {
			header = []string{"Sec-Fetch-Site: " + site}
		}
		if g := do(t, s.Client(), "GET", s.URL+"/v2/alpine/manifests/1", header...); g.Status != want {
			t.Errorf("%q: %d, want %d", site, g.Status, want)
		}
	}
}

// The cap of requests at once has no queue: the next one is told to come back.
func TestInFlightCap(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	h, _ := newHandler(t, Config{MaxInFlight: 1}, &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		entered <- struct{}{}
		<-release
		return healthy(ctx, req)
	}})
	s := serve(t, h)
	first := make(chan got)
	go func() { first <- do(t, s.Client(), "GET", s.URL+"/v2/alpine/manifests/1") }()
	<-entered
	if n := h.InFlight(); n != 1 {
		t.Errorf("%d in flight", n)
	}
	g := do(t, s.Client(), "GET", s.URL+"/v2/alpine/manifests/1")
	if e := decodeError(t, g.Body); g.Status != 503 || e.Code != "UNAVAILABLE" || g.Header.Get("Retry-After") != "1" {
		t.Errorf("%d %+v, Retry-After %q", g.Status, e, g.Header.Get("Retry-After"))
	}
	close(release)
	if g := <-first; g.Status != 200 || g.Body != manifestBytes {
		t.Errorf("the first: %d %q", g.Status, g.Body)
	}
	s.Close()
	if n := h.InFlight(); n != 0 {
		t.Errorf("%d in flight at the end", n)
	}
}

// Routes may be swapped while serving, and none at all is an answer too.
func TestSetRoutes(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: healthy})
	s := serve(t, h)
	h.SetRoutes(nil)
	if g := do(t, s.Client(), "GET", s.URL+"/v2/alpine/manifests/1"); g.Status != 404 {
		t.Errorf("no routes: %d", g.Status)
	}
	if g := do(t, s.Client(), "GET", s.URL+"/v2/"); g.Status != 200 {
		t.Errorf("no routes, ping: %d", g.Status)
	}
	routes, err := NewRoutes([]Registry{{Name: "docker.io", Fetcher: &fakeFetcher{fetch: healthy}}})
	if err != nil {
		t.Fatal(err)
	}
	h.SetRoutes(routes)
	if g := do(t, s.Client(), "GET", s.URL+"/v2/alpine/manifests/1"); g.Status != 200 {
		t.Errorf("new routes: %d", g.Status)
	}
}
