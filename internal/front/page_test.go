package front

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// The page names the address that its reader used, as text or as HTML, and in the language
// that is wanted; it never shadows the API.
func TestPage(t *testing.T) {
	t.Parallel()
	const browser = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"
	tests := []struct {
		name     string
		config   Config
		registry string // of the listener; empty: [server]'s
		header   []string
		want     []string // {HP}: where the server listens
		not      []string
	}{
		{"curl", Config{}, "", []string{"Accept: */*"},
			[]string{"pullchain: a mirror", "http://{HP}", `"registry-mirrors": ["http://{HP}"]`, "# containerd", "/etc/docker/certs.d", `[host."http://{HP}"]`,
				`location = "{HP}/ghcr.io"`, "insecure = true", `mirrors = ["{HP}"]`, `endpoint: ["http://{HP}"]`, "docker pull {HP}/ghcr.io/owner/app:v1", "docker.io ghcr.io registry.k8s.io"},
			[]string{"<html", "\n    END", "A name without a registry", "https://{HP}"}},
		{"a browser", Config{}, "", []string{browser}, []string{`<html lang="en">`, "&#34;registry-mirrors&#34;: [&#34;http://{HP}&#34;]", "reached from this machine only"}, []string{"<script", "ZgotmplZ"}},
		{"in Chinese", Config{}, "", []string{browser, "Accept-Language: zh-CN,zh;q=0.9,en;q=0.8"}, []string{`<html lang="zh-CN">`, "本镜像地址"}, []string{"This mirror"}},
		{"text in Chinese", Config{}, "", []string{"Accept-Language: zh"}, []string{"本镜像地址"}, []string{"This mirror"}},
		{"by a name", Config{Listen: "0.0.0.0:5151"}, "", []string{"Host: mirror.example.com:8080"}, []string{`["http://mirror.example.com:8080"]`}, []string{"{HP}"}},
		{"by IPv6", Config{}, "", []string{"Host: [::1]:5151"}, []string{`["http://[::1]:5151"]`}, nil},
		{"behind a proxy with TLS", Config{Listen: "0.0.0.0:5151", TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, "",
			[]string{"Host: mirror.example.com", "X-Forwarded-Proto: https", "X-Forwarded-For: 10.0.0.1"}, []string{`["https://mirror.example.com"]`, "ca.crt"}, []string{"http://mirror", "insecure = true"}},
		{"what a client says of itself", Config{}, "", []string{"X-Forwarded-Proto: https"}, []string{"http://{HP}"}, []string{"https://{HP}"}},
		{"a name that is none", Config{Listen: "0.0.0.0:5151"}, "", []string{`Host: x"];curl`}, []string{"http://127.0.0.1:"}, []string{`"];curl`}},
		{"another registry's listener", Config{}, "ghcr.io", nil, []string{"A name without a registry means", "# containerd"}, []string{"registry-mirrors\"", "# Docker Desktop"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fetcher := &fakeFetcher{fetch: healthy}
			h, _ := newHandler(t, tt.config, fetcher)
			var handler http.Handler = h
			if tt.registry != "" {
				handler = h.At(tt.config, tt.registry)
			}
			s := serve(t, handler)
			g := do(t, s.Client(), "GET", s.URL+"/", tt.header...)
			if g.Status != http.StatusOK {
				t.Fatalf("%d %s", g.Status, g.Body)
			}
			here := strings.NewReplacer("{HP}", s.Listener.Addr().String())
			for _, want := range tt.want {
				if want = here.Replace(want); !strings.Contains(g.Body, want) {
					t.Errorf("no %q in\n%s", want, g.Body)
				}
			}
			for _, not := range tt.not {
				if not = here.Replace(not); strings.Contains(g.Body, not) {
					t.Errorf("%q in\n%s", not, g.Body)
				}
			}
			for name, want := range map[string]string{
				"Content-Security-Policy": "default-src 'none'; style-src 'sha256-", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Vary": "Accept, Accept-Language",
			} {
				if got := g.Header.Get(name); !strings.HasPrefix(got, want) {
					t.Errorf("%s: %q", name, got)
				}
			}
			head := do(t, s.Client(), "HEAD", s.URL+"/", tt.header...)
			if head.Status != http.StatusOK || head.Body != "" || head.Header.Get("Content-Length") != fmt.Sprint(len(g.Body)) || head.Header.Get("Content-Type") != g.Header.Get("Content-Type") {
				t.Errorf("HEAD: %d %v", head.Status, head.Header)
			}
			if len(fetcher.ledger()) != 0 {
				t.Error("a chain was asked")
			}
		})
	}
}

// The page is for the root alone, and under the rules of the listener.
func TestPageIsOneAddress(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: healthy})
	s := serve(t, h)
	for _, tt := range []struct {
		method, path string
		header       []string
		status       int
	}{
		{"GET", "/?lang=zh", nil, 200}, {"GET", "/index.html", nil, 404}, {"GET", "//", nil, 404}, {"POST", "/", nil, 405},
		{"GET", "/", []string{"Host: rebound.example.com"}, 403}, {"GET", "/", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"GET", "/v2/", []string{"Accept: text/html"}, 200}, {"GET", "/v2/ghcr.io/o/a/manifests/1", []string{"Accept: text/html"}, 200},
	} {
		g := do(t, s.Client(), tt.method, s.URL+tt.path, tt.header...)
		if g.Status != tt.status || strings.Contains(g.Body, "registry-mirrors") != strings.HasPrefix(tt.path, "/?") {
			t.Errorf("%s %s: %d\n%.300s", tt.method, tt.path, g.Status, g.Body)
		}
	}
}
