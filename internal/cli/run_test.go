package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

// small is the image that these tests pull.
var small = simnet.Image{Repo: "library/alpine", Tags: []string{"3.20"}, Layers: []simnet.Layer{simnet.BigLayer(1<<20, 1)}}

// hubOf starts a registry on loopback.
func hubOf(t *testing.T) (*simnet.Net, *simnet.Hub) {
	t.Helper()
	n := simnet.New(simnet.Config{Plain: true})
	t.Cleanup(n.Close)
	return n, n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{small}, Open: true, Direct: true})
}

// configOf is a configuration with docker.io at url, on any port.
func configOf(url, more string) string {
	return fmt.Sprintf(`
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
state_dir = "off"
[log]
format = "json"
%s
[cache]
enabled = false
[[registry]]
name = "docker.io"
[[registry.upstream]]
name = "hub"
url = %q
authoritative = true
trust = "resolve"
allow_private = true
`, more, url)
}

// get gets a page that must be there.
func get(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v, HTTP %d: %s", url, err, resp.StatusCode, body)
	}
	return body
}

// A day in the life of a daemon: it serves, refuses a bad configuration (F37),
// takes a good one, and lets a pull finish before it goes (F36).
func TestRunReloadDrain(t *testing.T) {
	t.Parallel()
	_, hub := hubOf(t)
	content := small.Build()
	path := filepath.Join(t.TempDir(), "pullchain.toml")
	write := func(more string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(configOf(hub.URL(), more)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	c := startChild(t, path)
	if got := get(t, c.listen+content.Path()); !bytes.Equal(got, content.Manifest()) {
		t.Fatalf("the manifest is %s", got)
	}
	get(t, c.admin+"/-/readyz?registry=docker.io")

	write("lisen = 1") // line 8
	_ = c.cmd.Process.Signal(syscall.SIGHUP)
	record := c.await(t, "reload failed, the old configuration stays")
	if text := fmt.Sprint(record["error"]); !strings.Contains(text, "pullchain.toml:9:1: log: unknown key \"lisen\"") {
		t.Errorf("the log says %q", text)
	}
	if s := c.snapshot(t).Config; s.LastReloadOK || s.LastReloadAt == nil || !strings.Contains(s.LastReloadError, ":9:1:") || s.Source != path {
		t.Errorf("the snapshot says %+v", s)
	}
	get(t, c.listen+content.Path())

	write("[[registry]]\nname = \"quay.io\"\n[[registry.upstream]]\nname = \"quay\"\nurl = \"" + hub.URL() + "\"\ntrust = \"resolve\"\nallow_private = true\n")
	_ = c.cmd.Process.Signal(syscall.SIGHUP)
	c.await(t, "configuration reloaded")
	if s := c.snapshot(t); !s.Config.LastReloadOK || s.Config.LastReloadError != "" || len(s.Registries) != 2 || s.Find("quay.io") == nil {
		t.Errorf("the snapshot says %+v with %d registries", s.Config, len(s.Registries))
	}
	get(t, c.listen+"/v2/quay.io/library/alpine/manifests/3.20")

	drain(t, c, hub, content)
}

// drain ends c in the middle of a slow blob, which must arrive whole.
func drain(t *testing.T, c *child, hub *simnet.Hub, content *simnet.Content) {
	t.Helper()
	layer, want := content.Layer(0)
	hub.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: 1 << 20})
	resp, err := http.Get(c.listen + content.BlobPath(layer.Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 1000)
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(append(first, rest...), want) {
		t.Errorf("the blob under way: %d of %d bytes, %v", len(first)+len(rest), len(want), err)
	}
	if code := c.end(t); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(c.listen, "http://")); err == nil {
		t.Error("it still listens")
	}
}

// A second signal ends a drain at once, however much is under way.
func TestASecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	_, hub := hubOf(t)
	content := small.Build()
	c := startChild(t, file(t, "pullchain.toml", strings.Replace(configOf(hub.URL(), ""), "[admin]", "drain_timeout = \"1h\"\n[admin]", 1)))
	layer, _ := content.Layer(0)
	hub.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: 16 << 10}) // a minute
	resp, err := http.Get(c.listen + content.BlobPath(layer.Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	c.await(t, "draining")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.end(t)
	}()
	// The signal's default action is back a moment after the first one.
	for again := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case <-ended:
			if how := c.cmd.ProcessState.Sys().(syscall.WaitStatus); !how.Signaled() || how.Signal() != syscall.SIGTERM {
				t.Errorf("it ended by %v, want the signal", c.cmd.ProcessState)
			}
			return
		case <-again.C:
			_ = c.cmd.Process.Signal(syscall.SIGTERM)
		}
	}
}

// TestRunBanner starts it as a person does: text, and four lines that say where
// everything is.
func TestRunBanner(t *testing.T) {
	t.Parallel()
	_, hub := hubOf(t)
	content := small.Build()
	path := file(t, "pullchain.toml", strings.Replace(configOf(hub.URL(), ""), `"json"`, `"text"`, 1))
	got := runUntil(t, "next: ", func(out string) {
		if body := get(t, word(out, "mirror ")+content.Path()); !bytes.Equal(body, content.Manifest()) {
			t.Errorf("the banner's mirror answers %s", body)
		}
		status := run(t.Context(), []string{"status", "--addr", word(out, "--addr ")})
		if status.code != 0 || !strings.Contains(status.out, "docker.io  1     ▶  hub") {
			t.Errorf("the banner's advice: exit code %d\n%s%s", status.code, status.out, status.errors)
		}
	}, []string{"run", "-c", path, "--egress", "env"}, "HTTPS_PROXY=http://127.0.0.1:8", "https_proxy=http://user:hunter2@127.0.0.1:9") // net/http and curl heed the latter
	lines := strings.Split(strings.TrimSpace(got.out), "\n")
	if got.code != 0 || len(lines) != 4 || !strings.Contains(lines[0], "(config: "+path+")") || lines[1] != "registries docker.io" ||
		lines[2] != "egress https_proxy=http://127.0.0.1:9" || strings.Contains(got.out+got.errors, "hunter2") {
		t.Errorf("exit code %d:\n%s\n%s", got.code, got.out, got.errors)
	}
	if !strings.Contains(got.errors, "hub:ok") || strings.Contains(got.errors, `{"time"`) {
		t.Errorf("the log is not text with the trace of the pull:\n%s", got.errors)
	}
}

// word returns what stands behind a word, up to the next space.
func word(s, before string) string {
	_, rest, _ := strings.Cut(s, before)
	return strings.Fields(rest)[0]
}

// --egress sends what the configuration would send directly through a proxy.
func TestRunEgress(t *testing.T) {
	t.Parallel()
	n, hub := hubOf(t)
	proxy := n.AddSOCKSProxy(simnet.ProxyConfig{Origin: simnet.Origin{Name: "proxy"}})
	content := small.Build()
	path := file(t, "pullchain.toml", strings.Replace(configOf(hub.NameURL(), ""), `"json"`, `"text"`, 1))
	got := runUntil(t, "next: ", func(out string) {
		if body := get(t, word(out, "mirror ")+content.Path()); !bytes.Equal(body, content.Manifest()) {
			t.Errorf("got %s", body)
		}
	}, []string{"run", "-c", path, "--egress", "socks5h://" + proxy.Addr()})
	if got.code != 0 || !strings.Contains(got.out, "egress command-line socks5h://"+proxy.Addr()) {
		t.Errorf("exit code %d:\n%s\n%s", got.code, got.out, got.errors)
	}
	if n.Ledger().Connections("proxy") == 0 {
		t.Error("nothing went through the proxy")
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	path := file(t, "pullchain.toml", configOf("http://127.0.0.1:1", ""))
	tests := []struct {
		name   string
		args   []string
		code   int
		errors string
	}{
		{"an egress that is none", []string{"--egress", "ftp://x:1"}, 2, "--egress: egress.command-line: url: scheme must be"},
		{"a login on the command line", []string{"--egress", "socks5://u:hunter2@x:1"}, 2, "--egress: egress.command-line: url: holds a login"},
		{"an address that is none", []string{"--listen", "5151"}, 2, "--listen: listen: \"5151\" is not host:port"},
		{"operators from everywhere", []string{"--admin-listen", ":0"}, 2, "--admin-listen: listen: others can reach"},
		{"a port that is taken", []string{"--listen", taken.Addr().String()}, 1, "is another pullchain running?"},
		{"a port that is taken, for operators", []string{"--admin-listen", taken.Addr().String()}, 1, "is another pullchain running?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			got := run(ctx, append([]string{"run", "-c", path}, tt.args...))
			if got.code != tt.code || !strings.Contains(got.errors, tt.errors) || strings.Contains(got.errors, "hunter2") {
				t.Errorf("exit code %d, want %d; %s", got.code, tt.code, got.errors)
			}
		})
	}
}

// A login is served to this machine alone, whether the file, a flag or an older
// file says where to listen (docs/faults.md 5, distribution's mirror doc).
func TestRunKeepsLogins(t *testing.T) {
	t.Parallel()
	const refusal = "everybody who can reach"
	secret := file(t, "password", "hunter2\n")
	login := "username = \"me\"\npassword_file = \"" + secret + "\"\n"
	narrow := configOf("http://127.0.0.1:1", "") + login
	wide := strings.Replace(configOf("http://127.0.0.1:1", ""), "127.0.0.1:0", "0.0.0.0:0", 1) // [server] comes first

	path := file(t, "pullchain.toml", narrow)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if got := run(ctx, []string{"run", "-c", path, "--listen", "0.0.0.0:0"}); got.code != 2 || !strings.Contains(got.errors, refusal) {
		t.Errorf("with --listen: exit code %d; %s", got.code, got.errors)
	}

	path = file(t, "wide.toml", wide)
	c := startChild(t, path)
	if err := os.WriteFile(path, []byte(narrow), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Process.Signal(syscall.SIGHUP)
	record := c.await(t, "reload failed, the old configuration stays")
	if text := fmt.Sprint(record["error"]); !strings.Contains(text, refusal) {
		t.Errorf("the log says %q", text)
	}
}
