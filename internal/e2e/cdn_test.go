//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

const originSecret = "0123456789abcdef0123456789abcdef"

// behindNginx is a pullchain that nginx stands before, with a cache of its own, as a CDN does.
type behindNginx struct {
	image    *simnet.Content
	nginx    string // base URL
	direct   string // base URL of pullchain
	log      string // file of pullchain's log
	upstream *simnet.Net
}

// freePort is a port of loopback that no program has.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func startBehindNginx(t *testing.T) *behindNginx {
	t.Helper()
	dir := tempDir(t)
	n := simnet.New(simnet.Config{})
	t.Cleanup(n.Close)
	img := simnet.Image{Repo: "library/alpine", Tags: []string{"3"}, Layers: []simnet.Layer{{Size: 3 << 20}}}
	mirror := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "a"}, Images: []simnet.Image{img}})
	listen, front := freePort(t), freePort(t)
	ca, secret, config := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "secret"), filepath.Join(dir, "pullchain.toml")
	writeFile(t, ca, string(n.CAPEM()))
	writeFile(t, secret, originSecret+"\n")
	writeFile(t, config, fmt.Sprintf(`
[server]
listen = %q
trusted_proxies = ["127.0.0.1/32"]
drain = "refuse"
drain_timeout = "1s"
[access]
origin_secret_header = "X-Origin-Secret"
origin_secret_file = %q
[admin]
listen = "127.0.0.1:0"
state_dir = "off"
[cache]
dir = %q
[log]
format = "json"
[[registry]]
name = "docker.io"
[[registry.upstream]]
name = "a"
url = %q
trust = "resolve"
authoritative = true
allow_private = true
ca_file = %q
`, listen, secret, filepath.Join(dir, "cache"), mirror.URL(), ca))
	conf := filepath.Join(dir, "nginx.conf")
	writeFile(t, conf, fmt.Sprintf(`
daemon off;
user root; # its directories are this user's alone
pid %[1]s/nginx.pid;
error_log %[1]s/nginx.log;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/t1; proxy_temp_path %[1]s/t2; fastcgi_temp_path %[1]s/t3; uwsgi_temp_path %[1]s/t4; scgi_temp_path %[1]s/t5;
	proxy_cache_path %[1]s/nginx-cache keys_zone=c:1m;
	server {
		listen %[2]s;
		location / {
			proxy_pass http://%[3]s;
			proxy_http_version 1.1;
			proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			proxy_set_header X-Origin-Secret %[4]s;
			proxy_cache c;
			proxy_cache_key $http_host$request_uri;
			proxy_cache_lock on;
			add_header X-Nginx $upstream_cache_status always;
		}
	}
}
`, dir, front, listen, originSecret))
	log := filepath.Join(dir, "pullchain.log")
	run := func(name string, args ...string) {
		out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(name, args...)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Signal(os.Interrupt)
			_ = cmd.Wait()
			out.Close()
		})
	}
	run(buildDaemon(t), "run", "-c", config)
	run(systemProgram(t, "nginx"), "-p", dir, "-c", conf)
	for _, addr := range []string{listen, front} {
		for limit := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("nothing listens at %s", addr)
			}
		}
	}
	return &behindNginx{n.Build(img), "http://" + front, "http://" + listen, log, n}
}

// requests counts those for one reference that have come to pullchain.
func (b *behindNginx) requests(t *testing.T, ref string) (n int) {
	t.Helper()
	data, err := os.ReadFile(b.log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var entry struct{ Msg, Ref string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "request" && entry.Ref == ref {
			n++
		}
	}
	return n
}

// A CDN in front keeps what it may: blobs and manifests by digest for ever, tags shortly,
// errors never; parts come out of it right. A client that passes it by is refused.
func TestCDNInFront(t *testing.T) {
	t.Parallel()
	b := startBehindNginx(t)
	layer, content := b.image.Layer(0)
	blob, tag := b.image.BlobPath(layer.Digest), b.image.ManifestPath("3")
	if resp, _ := exchange(t, http.MethodGet, b.direct+blob, nil, nil); resp.StatusCode != http.StatusForbidden {
		t.Errorf("past nginx: %d", resp.StatusCode)
	}
	etag := `"` + layer.Digest.String() + `"`
	for i, tt := range []struct {
		path, header, value string
		status              int
		cached, body        string
	}{
		{blob, "", "", 200, "MISS", string(content)},
		{blob, "", "", 200, "HIT", string(content)},
		{blob, "Range", "bytes=1000-1999", 206, "HIT", string(content[1000:2000])},
		{blob, "Range", "bytes=-5", 206, "HIT", string(content[len(content)-5:])},
		{blob, "If-None-Match", etag, 304, "HIT", ""},
		{tag, "", "", 200, "MISS", string(b.image.Manifest())},
		{tag, "", "", 200, "HIT", string(b.image.Manifest())},
		{b.image.ManifestPath(b.image.Root.Digest.String()), "", "", 200, "MISS", string(b.image.Manifest())},
		{b.image.ManifestPath(b.image.Root.Digest.String()), "", "", 200, "HIT", string(b.image.Manifest())},
		{b.image.ManifestPath("none"), "", "", 404, "MISS", "*"},
		{b.image.ManifestPath("none"), "", "", 404, "MISS", "*"},
		{"/v2/", "", "", 200, "MISS", "{}"},
		{"/v2/", "", "", 200, "MISS", "{}"},
	} {
		header := http.Header{}
		if tt.header != "" {
			header.Set(tt.header, tt.value)
		}
		resp, body := exchange(t, http.MethodGet, b.nginx+tt.path, header, nil)
		if resp.StatusCode != tt.status || resp.Header.Get("X-Nginx") != tt.cached || tt.body != "*" && string(body) != tt.body {
			t.Errorf("%d: %s with %s %s: %d, %s, %d bytes; want %d, %s", i, tt.path, tt.header, tt.value, resp.StatusCode, resp.Header.Get("X-Nginx"), len(body), tt.status, tt.cached)
		}
	}
	for ref, want := range map[string]int{"3": 1, b.image.Root.Digest.String(): 1, "none": 2} {
		if got := b.requests(t, ref); got != want {
			t.Errorf("%d requests for %s came to pullchain, want %d", got, ref, want)
		}
	}
	if got := b.requests(t, layer.Digest.String()); got != 1 {
		t.Errorf("%d requests for the layer came to pullchain, want 1", got)
	}
}
