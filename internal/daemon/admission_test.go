package daemon_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/pullchain/pullchain/internal/simnet"
)

// htpasswd writes a file with one user.
func htpasswd(t *testing.T, path, user, password string) {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err == nil {
		err = os.WriteFile(path, []byte(user+":"+string(hash)+"\n"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// as asks for a path with a login, and returns the status.
func (r *rig) as(user, password, path string) int {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.Daemon.Addr()+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// A mirror that asks for logins serves those that have one and fetches ahead for them; the
// login goes to no upstream. An edit of the file counts at once, and so does a reload.
func TestMirrorWithHtpasswd(t *testing.T) {
	t.Parallel()
	users := filepath.Join(t.TempDir(), "users")
	htpasswd(t, users, "alice", "wonderland")
	p := newPair(t, func(cfg *rigConfig) {
		cfg.Cache = "dir = \"cache\"\nmax_size = \"64MiB\""
		cfg.Chain = cfg.Chain[:1]
		cfg.Top = "[access]\nhtpasswd_file = '" + users + "'\nallow_cidrs = [\"127.0.0.0/8\"]\n[[warm]]\nimages = [\"library/alpine:3\"]\nevery = \"6h\"\n"
	})
	p.probed("a")
	if run := p.runWarmth(); !run.OK || run.Images[0].Fetched != len(p.image.Blobs) {
		t.Fatalf("fetched ahead: %+v", run)
	}
	const manifest = "/v2/alpine/manifests/3"
	for _, tt := range []struct {
		user, password, path string
		want                 int
	}{
		{"", "", manifest, 401}, {"alice", "wrong", manifest, 401}, {"alice", "wonderland", manifest, 200}, {"alice", "wonderland", "/v2/alpine/tags/list", 200},
	} {
		if got := p.as(tt.user, tt.password, tt.path); got != tt.want {
			t.Errorf("%s with %q, %s: %d, want %d", tt.user, tt.password, tt.path, got, tt.want)
		}
	}
	p.wantAsked("a", http.MethodGet, simnet.Tags, 1)
	for _, secret := range []string{"wonderland", "YWxpY2U6d29uZGVybGFuZA"} {
		if leaks := p.net.Ledger().Leaks(secret); len(leaks) != 0 {
			t.Errorf("an upstream was shown the login: %+v", leaks)
		}
	}
	htpasswd(t, users, "bob", "builder")
	if alice, bob := p.as("alice", "wonderland", manifest), p.as("bob", "builder", manifest); alice != 401 || bob != 200 {
		t.Errorf("after the edit of the file: alice %d, bob %d", alice, bob)
	}
	p.rewrite("127.0.0.0/8", "10.0.0.0/8")
	if err := p.hangup(); err != nil || p.as("bob", "builder", manifest) != 403 {
		t.Errorf("the reload let others in only, and bob is served (%v)", err)
	}
	p.rewrite("allow_cidrs", "deny_cidrs")
	if err := p.hangup(); err != nil || p.as("bob", "builder", manifest) != 200 {
		t.Errorf("bob is not served any more (%v)", err)
	}
}

// A mirror behind a proxy that names its clients fetches ahead for them through the very
// same listener, where the proxy is on its own machine.
func TestMirrorBehindAProxyOfItsMachine(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(cfg *rigConfig) {
		cfg.Cache = "dir = \"cache\"\nmax_size = \"64MiB\""
		cfg.Chain = cfg.Chain[:1]
		cfg.More = "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]"
		cfg.Top = "[access]\nallow_cidrs = [\"10.0.0.0/8\"]\n[[warm]]\nimages = [\"library/alpine:3\"]\nevery = \"6h\"\n"
	})
	p.probed("a")
	if run := p.runWarmth(); !run.OK {
		t.Fatalf("fetched ahead: %+v", run)
	}
	for client, want := range map[string]int{"10.1.2.3": 200, "192.0.2.3": 403} {
		conn, err := net.Dial("tcp", p.Daemon.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "PROXY TCP4 %s 127.0.0.1 1 2\r\nGET /v2/alpine/manifests/3 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", client)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != want {
			t.Errorf("%s: %+v, %v; want %d", client, resp, err, want)
		}
	}
}
