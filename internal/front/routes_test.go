package front

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
)

// Every form in which a client names an image, as the chain and the log see it.
func TestClientForms(t *testing.T) {
	t.Parallel()
	sha := layerDigest.String()
	tests := []struct {
		name, url, host string
		registry, repo  string
		form            string
	}{
		// Docker's classic path sends no namespace (docs/protocol.md 4.4).
		{"docker", "/v2/library/alpine/manifests/3.20", "", "docker.io", "library/alpine", "default"},
		{"short name", "/v2/alpine/manifests/3.20", "", "docker.io", "library/alpine", "default"},
		{"short name with a dot", "/v2/my.app/manifests/3.20", "", "docker.io", "library/my.app", "default"},
		{"short name called manifests", "/v2/manifests/manifests/1", "", "docker.io", "library/manifests", "default"},
		// containerd and BuildKit: ?ns=.
		{"ns", "/v2/owner/app/manifests/1?ns=ghcr.io", "", "ghcr.io", "owner/app", "ns"},
		{"ns, one component elsewhere", "/v2/pause/manifests/3.9?ns=registry.k8s.io", "", "registry.k8s.io", "pause", "ns"},
		{"ns, docker.io short", "/v2/alpine/manifests/1?ns=docker.io", "", "docker.io", "library/alpine", "ns"},
		{"ns, alias", "/v2/pause/manifests/3.9?ns=k8s.gcr.io", "", "registry.k8s.io", "pause", "ns"},
		{"ns, capitals", "/v2/o/a/manifests/1?ns=GHCR.io", "", "ghcr.io", "o/a", "ns"},
		{"ns, escaped port", "/v2/o/a/manifests/1?ns=registry.corp%3A5000", "", "registry.corp:5000", "o/a", "ns"},
		{"ns, https port", "/v2/o/a/manifests/1?ns=ghcr.io:443", "", "ghcr.io", "o/a", "ns"},
		{"ns on a blob", "/v2/o/a/blobs/" + sha + "?ns=ghcr.io", "", "ghcr.io", "o/a", "ns"},
		{"ns beats an alias word", "/v2/ghcr/app/manifests/1?ns=docker.io", "", "docker.io", "ghcr/app", "ns"},
		// podman: the path.
		{"path", "/v2/ghcr.io/owner/app/manifests/1", "", "ghcr.io", "owner/app", "path"},
		{"path, docker.io short", "/v2/docker.io/alpine/manifests/1", "", "docker.io", "library/alpine", "path"},
		{"path, alias host", "/v2/k8s.gcr.io/pause/manifests/1", "", "registry.k8s.io", "pause", "path"},
		{"path with a port", "/v2/registry.corp:5000/o/a/manifests/1", "", "registry.corp:5000", "o/a", "path"},
		{"path with an escaped port", "/v2/registry.corp%3a5000/o/a/manifests/1", "", "registry.corp:5000", "o/a", "path"},
		// BuildKit with a path in its mirror sends both; no double prefix.
		{"path and ns", "/v2/ghcr.io/owner/app/manifests/1?ns=ghcr.io", "", "ghcr.io", "owner/app", "path"},
		{"path beats ns", "/v2/ghcr.io/owner/app/manifests/1?ns=docker.io", "", "ghcr.io", "owner/app", "path"},
		// Aliases before (containerd's override_path) and after /v2.
		{"alias before", "/ghcr/v2/owner/app/manifests/1", "", "ghcr.io", "owner/app", "path"},
		{"registry before", "/docker.io/v2/alpine/manifests/1", "", "docker.io", "library/alpine", "path"},
		{"registry before, with ns", "/docker.io/v2/library/alpine/manifests/1?ns=docker.io", "", "docker.io", "library/alpine", "ns"},
		{"alias after", "/v2/ghcr/owner/app/manifests/1", "", "ghcr.io", "owner/app", "path"},
		// The words that recipes for mirrors have, which no file has to name.
		{"word before", "/rk8s/v2/pause/manifests/3.9", "", "registry.k8s.io", "pause", "path"},
		{"word before, of another word", "/kgcr/v2/pause/manifests/3.9", "", "registry.k8s.io", "pause", "path"},
		{"word before, with ns", "/rk8s/v2/pause/manifests/3.9?ns=registry.k8s.io", "", "registry.k8s.io", "pause", "ns"},
		{"word after", "/v2/rk8s/sig-storage/csi/manifests/1", "", "registry.k8s.io", "sig-storage/csi", "path"},
		{"word after, tags", "/v2/rk8s/sig-storage/csi/tags/list", "", "registry.k8s.io", "sig-storage/csi", "path"},
		// Docker's classic path sends the same for an image of the Hub that is called so.
		{"a name space of the Hub that is called so", "/v2/rk8s/pause/manifests/3.9", "", "docker.io", "rk8s/pause", "default"},
		{"the same by ns", "/v2/rk8s/pause/manifests/3.9?ns=docker.io", "", "docker.io", "rk8s/pause", "ns"},
		{"a word is no name on another's host", "/v2/rk8s/owner/app/manifests/1", "ghcr.mirror.example.com", "ghcr.io", "rk8s/owner/app", "host"},
		// A path in hosts.toml without override_path.
		{"/v2 twice", "/v2/docker.io/v2/library/alpine/manifests/1?ns=docker.io", "", "docker.io", "library/alpine", "path"},
		{"/v2 twice, without ns", "/v2/docker.io/v2/library/alpine/blobs/" + sha, "", "docker.io", "library/alpine", "path"},
		{"/v2 twice, by another host of it", "/v2/docker.io/v2/library/alpine/manifests/1?ns=registry-1.docker.io", "", "docker.io", "library/alpine", "path"},
		{"a name space of the Hub that is called v2", "/v2/docker.io/v2/alpine/manifests/1?ns=docker.io", "", "docker.io", "v2/alpine", "path"},
		{"the same as podman asks", "/v2/ghcr.io/v2/app/manifests/1", "", "ghcr.io", "v2/app", "path"},
		// Host.
		{"host", "/v2/owner/app/manifests/1", "ghcr.mirror.example.com", "ghcr.io", "owner/app", "host"},
		{"host with a port", "/v2/owner/app/manifests/1", "GHCR.mirror.example.com:5151", "ghcr.io", "owner/app", "host"},
		{"the registry's own host", "/v2/alpine/manifests/1", "registry-1.docker.io", "docker.io", "library/alpine", "host"},
		{"ns beats host", "/v2/pause/manifests/1?ns=registry.k8s.io", "ghcr.io", "registry.k8s.io", "pause", "ns"},
		{"an alias that is a word is no host", "/v2/alpine/manifests/1", "ghcr", "docker.io", "library/alpine", "default"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fetcher := &fakeFetcher{fetch: healthy}
			h, logs := newHandler(t, Config{Listen: "0.0.0.0:5151"}, fetcher)
			s := serve(t, h)
			var header []string
			if tt.host != "" {
				header = []string{"Host: " + tt.host}
			}
			if g := do(t, s.Client(), "HEAD", s.URL+tt.url, header...); g.Status != http.StatusOK {
				t.Fatalf("status %d", g.Status)
			}
			asked := fetcher.ledger()
			if len(asked) != 1 || asked[0].Registry != tt.registry || asked[0].Repo != tt.repo {
				t.Fatalf("the chain was asked %+v, want %s %s", asked, tt.registry, tt.repo)
			}
			if line := logs.access(t)[0]; line["form"] != tt.form || line["registry"] != tt.registry || line["repo"] != tt.repo {
				t.Errorf("log says %v %v %v, want form %s", line["form"], line["registry"], line["repo"], tt.form)
			}
		})
	}
}

// An unknown registry is a 404 at once, and no upstream is asked.
func TestUnknownRegistry(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, url, host, want string }{
		{"ns", "/v2/o/a/manifests/1?ns=registry.corp.example%3A5000", "", "registry.corp.example:5000"},
		{"path", "/v2/quay.io/o/a/manifests/1", "", "quay.io"},
		{"path with a port", "/v2/127.0.0.1:5000/a/manifests/1", "", "127.0.0.1:5000"},
		{"path, localhost", "/v2/localhost/a/manifests/1", "", "localhost"},
		{"prefix", "/quay/v2/o/a/manifests/1", "", "quay"},
		{"prefix, ping", "/quay/v2/", "", "quay"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fetcher := &fakeFetcher{fetch: healthy}
			h, _ := newHandler(t, Config{}, fetcher)
			s := serve(t, h)
			g := do(t, s.Client(), "GET", s.URL+tt.url)
			if e := decodeError(t, g.Body); g.Status != 404 || e.Code != "NAME_UNKNOWN" || !strings.Contains(e.Message, tt.want) {
				t.Errorf("%d %+v, want a 404 that names %s", g.Status, e, tt.want)
			}
			if n := len(fetcher.ledger()); n != 0 {
				t.Errorf("%d requests went to a chain", n)
			}
		})
	}
}

// What is no request for content never reaches a chain.
func TestMalformed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		url    string
		status int
		code   string
	}{

		{"/v1/_ping", 404, "NAME_UNKNOWN"},
		{"/v2x/library/alpine/manifests/1", 404, "NAME_UNKNOWN"},
		{"//v2/library/alpine/manifests/1", 404, "NAME_UNKNOWN"},
		{"/a/b/v2/library/alpine/manifests/1", 404, "NAME_UNKNOWN"},
		{"/v2/_catalog", 404, "UNSUPPORTED"},
		{"/v2/ghcr.io/_catalog", 404, "UNSUPPORTED"},
		{"/v2/library/alpine", 404, "NAME_UNKNOWN"},
		{"/v2/library/alpine/manifests", 404, "NAME_UNKNOWN"},
		{"/v2/Library/Alpine/manifests/1", 400, "NAME_INVALID"},
		{"/v2/library//alpine/manifests/1", 400, "NAME_INVALID"},
		{"/v2/library%2falpine/manifests/1", 400, "NAME_INVALID"},
		{"/v2/library/..%2f..%2fetc/manifests/1", 400, "NAME_INVALID"},
		{"/v2/../library/alpine/manifests/1", 400, "NAME_INVALID"},
		{"/v2/./alpine/manifests/1", 400, "NAME_INVALID"},
		{"/v2/ghcr.io/../evil/manifests/1", 400, "NAME_INVALID"},
		{"/v2/library%5calpine/manifests/1", 400, "NAME_INVALID"},
		{"/v2/library/al%00pine/manifests/1", 400, "NAME_INVALID"},
		{"/v2/library/alpine/manifests/-bad", 400, "MANIFEST_INVALID"},
		{"/v2/library/alpine/manifests/" + strings.Repeat("a", 129), 400, "MANIFEST_INVALID"},
		{"/v2/library/alpine/manifests/sha256:abc", 400, "DIGEST_INVALID"},
		{"/v2/library/alpine/blobs/latest", 400, "DIGEST_INVALID"},
		{"/v2/" + strings.Repeat("a", 256) + "/manifests/1", 400, "NAME_INVALID"},
	}
	fetcher := &fakeFetcher{fetch: healthy}
	h, _ := newHandler(t, Config{}, fetcher)
	s := serve(t, h)
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			// Written by hand: http.NewRequest would clean some of these.
			raw := rawRequest(t, s.Listener.Addr().String(), "GET "+tt.url+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
			e := decodeError(t, raw.Body)
			if raw.Status != tt.status || e.Code != tt.code {
				t.Errorf("%d %s, want %d %s", raw.Status, e.Code, tt.status, tt.code)
			}
		})
	}
	if asked := fetcher.ledger(); len(asked) != 0 {
		t.Errorf("the chain was asked %+v", asked)
	}
}

func TestNewRoutesErrors(t *testing.T) {
	t.Parallel()
	f := &fakeFetcher{fetch: healthy}
	tests := []struct {
		name       string
		registries []Registry
		want       string // part of the error; empty for none
	}{
		{"none", nil, ""},
		{"an alias that is its own name", []Registry{{Name: "docker.io", Aliases: []string{"Docker.io"}, Fetcher: f}}, ""},
		{"no fetcher", []Registry{{Name: "docker.io"}}, "no fetcher"},
		{"twice", []Registry{{Name: "docker.io", Fetcher: f}, {Name: "docker.io", Fetcher: f}}, "already"},
		{"shared alias", []Registry{{Name: "a.io", Fetcher: f}, {Name: "b.io", Aliases: []string{"A.io"}, Fetcher: f}}, `already that of "a.io"`},
		{"empty", []Registry{{Fetcher: f}}, "cannot be"},
		{"v2", []Registry{{Name: "docker.io", Aliases: []string{"v2"}, Fetcher: f}}, "cannot be"},
		{"slash", []Registry{{Name: "docker.io/library", Fetcher: f}}, "cannot be"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := NewRoutes(tt.registries)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// What the chain is asked is made from the path and four headers, and from
// nothing else that the client sent.
func TestRequestIsBuiltFromScratch(t *testing.T) {
	t.Parallel()
	sha := layerDigest.String()
	tests := []struct {
		name, method, url string
		header            []string
		want              pullchain.Request
	}{
		{
			"manifest by tag", "GET", "/v2/alpine/manifests/3.20?ns=docker.io&n=1",
			[]string{"Accept: application/vnd.oci.image.index.v1+json", "Accept: */*", "Range: bytes=0-5", "Authorization: Basic c2VjcmV0"},
			pullchain.Request{
				Op: pullchain.Manifest, Registry: "docker.io", Repo: "library/alpine", Tag: "3.20",
				Accept: []string{"application/vnd.oci.image.index.v1+json", "*/*"},
			},
		},
		{
			"what no client sends", "GET", "/v2/alpine/manifests/3.20",
			[]string{"Accept: " + strings.Repeat("application/x-"+strings.Repeat("y", 3000)+", ", 9) + "application/vnd.oci.image.index.v1+json"},
			pullchain.Request{
				Op: pullchain.Manifest, Registry: "docker.io", Repo: "library/alpine", Tag: "3.20",
				Accept: []string{"application/vnd.oci.image.index.v1+json"},
			},
		},
		{
			"a list's query", "GET", "/v2/alpine/tags/list?x=1&n=10&last=b&next_page=c&artifactType=d&y=2",
			nil, pullchain.Request{Op: pullchain.Tags, Registry: "docker.io", Repo: "library/alpine", Query: "artifactType=d&last=b&n=10&next_page=c"},
		},
		{
			"head by digest", "HEAD", "/v2/alpine/manifests/" + sha, nil,
			pullchain.Request{Op: pullchain.Manifest, Head: true, Registry: "docker.io", Repo: "library/alpine", Digest: layerDigest},
		},
		{
			"blob from an offset", "GET", blobPath, []string{"Range: bytes=100-"},
			pullchain.Request{Op: pullchain.Blob, Registry: "docker.io", Repo: "library/alpine", Digest: layerDigest, Range: pullchain.Range{From: 100}},
		},
		{
			"blob's end", "GET", blobPath, []string{"Range: bytes=-5"},
			pullchain.Request{Op: pullchain.Blob, Registry: "docker.io", Repo: "library/alpine", Digest: layerDigest, Range: pullchain.Range{From: -5}},
		},
		{
			"a range means nothing to HEAD", "HEAD", blobPath, []string{"Range: bytes=100-"},
			pullchain.Request{Op: pullchain.Blob, Head: true, Registry: "docker.io", Repo: "library/alpine", Digest: layerDigest},
		},
		{
			"ranges that are more than the whole", "GET", blobPath, []string{"Range: bytes=0-,5-6"},
			pullchain.Request{Op: pullchain.Blob, Registry: "docker.io", Repo: "library/alpine", Digest: layerDigest},
		},
		{
			"if-range that holds", "GET", blobPath, []string{"Range: bytes=0-1", `If-Range: "` + sha + `"`},
			pullchain.Request{Op: pullchain.Blob, Registry: "docker.io", Repo: "library/alpine", Digest: layerDigest, Range: pullchain.Range{To: 2}},
		},
		{
			"if-range that does not", "GET", blobPath, []string{"Range: bytes=0-1", `If-Range: "other"`},
			pullchain.Request{Op: pullchain.Blob, Registry: "docker.io", Repo: "library/alpine", Digest: layerDigest},
		},
		{
			"tags", "GET", "/v2/o/a/tags/list?n=5&last=x&ns=ghcr.io", nil,
			pullchain.Request{Op: pullchain.Tags, Registry: "ghcr.io", Repo: "o/a", Query: "last=x&n=5"},
		},
		{
			"referrers", "GET", "/v2/ghcr.io/o/a/referrers/" + sha + "?artifactType=sbom", nil,
			pullchain.Request{Op: pullchain.Referrers, Registry: "ghcr.io", Repo: "o/a", Digest: layerDigest, Query: "artifactType=sbom"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fetcher := &fakeFetcher{fetch: healthy}
			h, _ := newHandler(t, Config{}, fetcher)
			s := serve(t, h)
			do(t, s.Client(), tt.method, s.URL+tt.url, tt.header...)
			if diff := cmp.Diff([]pullchain.Request{tt.want}, fetcher.ledger()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}
