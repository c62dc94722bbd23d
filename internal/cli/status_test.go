package cli_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
)

// chain is a registry's chain of one upstream in a state.
func chain(name, state string, code pullchain.Code) admin.Registry {
	return admin.Registry{Snapshot: balancer.Snapshot{
		Registry: name, Strategy: balancer.Ordered, Pullable: state == balancer.StateServing || state == balancer.StateDegraded, Proved: true,
		Lanes: []balancer.LaneSnapshot{{Upstream: "up-" + name, Order: 1, State: state, Code: code, Via: "direct"}},
	}}
}

// adminOf serves the operator's plane over registries and returns its address.
func adminOf(t *testing.T, cfg admin.Config, registries ...admin.Registry) string {
	t.Helper()
	s := httptest.NewServer(admin.New(cfg, admin.Sources{Snapshot: func() admin.Snapshot {
		s := admin.Snapshot{Schema: admin.Schema, Version: "1.2.3", Now: time.Now(), Registries: registries}
		s.Summary = admin.Summarize(s.Chains(), s.Cache, s.Now, s.Warnings...)
		return s
	}}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestStatus(t *testing.T) {
	t.Parallel()
	fine := chain("ghcr.io", balancer.StateServing, "")
	ailing := chain("docker.io", balancer.StateDegraded, pullchain.CodeStall)
	dead := chain("quay.io", balancer.StateDown, pullchain.CodeConnRefused)
	well := adminOf(t, admin.Config{}, fine)
	ill := adminOf(t, admin.Config{}, fine, ailing)
	worse := adminOf(t, admin.Config{}, fine, ailing, dead)
	locked := adminOf(t, admin.Config{Token: "s3cret"}, fine)
	token, wrong := file(t, "token", "s3cret\n"), file(t, "wrong", "x")
	html := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	t.Cleanup(html.Close)
	tests := []struct {
		name        string
		args        []string
		code        int
		out, errors string
	}{
		{"well", []string{"--addr", well}, 0, "OK  1 of 1 registry pullable.", ""},
		{"well, by a URL", []string{"--addr", "http://" + well + "/"}, 0, "up-ghcr.io", ""},
		{"well, checked", []string{"--addr", well, "--check"}, 0, "OK", ""},
		{"in Chinese", []string{"--addr", ill, "--lang", "zh"}, 0, "降级  2 个仓库中 2 个可拉取。docker.io：up-docker.io 传输停滞。", ""},
		{"ill", []string{"--addr", ill}, 0, "DEGRADED", ""},
		{"ill, checked", []string{"--addr", ill, "--check"}, 5, "docker.io: up-docker.io stalls.", ""},
		{"the well part of it, checked", []string{"--addr", ill, "--check", "ghcr.io"}, 0, "OK  1 of 1", ""},
		{"worse, checked", []string{"--addr", worse, "--check"}, 6, "quay.io has no path", ""},
		{"the ill part of worse, checked", []string{"--addr", worse, "docker.io", "--check"}, 5, "DEGRADED  1 of 1", ""},
		{"no such registry", []string{"--addr", well, "nope.io"}, 2, "", "there is no registry nope.io; there are ghcr.io"},
		{"nobody there", []string{"--addr", "127.0.0.1:1"}, 4, "", "no pullchain answers at http://127.0.0.1:1: start one with `pullchain run` (dial tcp"},
		{"nobody there, checked", []string{"--addr", "127.0.0.1:1", "--check"}, 4, "", "no pullchain answers"},
		{"something else there", []string{"--addr", html.URL}, 4, "", "no pullchain, or another version"},
		{"locked", []string{"--addr", locked}, 4, "", "add --token-file"},
		{"locked, with the token", []string{"--addr", locked, "--token-file", token}, 0, "up-ghcr.io", ""},
		{"locked, with a wrong one", []string{"--addr", locked, "--token-file", wrong}, 4, "", "add --token-file"},
		{"locked, with none", []string{"--addr", locked, "--token-file", token + ".no"}, 1, "", "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := run(t.Context(), append([]string{"status"}, tt.args...))
			if got.code != tt.code || !strings.Contains(got.out, tt.out) || !strings.Contains(got.errors, tt.errors) {
				t.Errorf("exit code %d, want %d\nstdout, want %q:\n%s\nstderr, want %q:\n%s", got.code, tt.code, tt.out, got.out, tt.errors, got.errors)
			}
			if strings.Contains(got.out+got.errors, "s3cret") || strings.Contains(got.out, "\x1b") {
				t.Errorf("a secret or a colour:\n%s%s", got.out, got.errors)
			}
		})
	}
}

func TestStatusJSON(t *testing.T) {
	t.Parallel()
	addr := adminOf(t, admin.Config{}, chain("ghcr.io", balancer.StateServing, ""), chain("quay.io", balancer.StateDown, pullchain.CodeDNS))
	got := run(t.Context(), []string{"status", "--addr", addr, "-o", "json", "ghcr.io"})
	var s admin.Snapshot
	if err := json.Unmarshal([]byte(got.out), &s); err != nil {
		t.Fatalf("%v:\n%s", err, got.out)
	}
	if got.code != 0 || s.Schema != 1 || len(s.Registries) != 1 || s.Registries[0].Registry != "ghcr.io" || s.Summary.Level != "ok" {
		t.Errorf("exit code %d, got %+v", got.code, s)
	}
}

// The configuration says where the daemon is and what opens it.
func TestStatusByConfiguration(t *testing.T) {
	t.Parallel()
	addr := adminOf(t, admin.Config{Token: "s3cret"}, chain("ghcr.io", balancer.StateServing, ""))
	token := file(t, "token", "s3cret\n")
	path := file(t, "pullchain.toml", "[admin]\nlisten = \""+addr+"\"\ntoken_file = \""+token+"\"\n")
	if got := run(t.Context(), []string{"status", "-c", path}); got.code != 0 || !strings.Contains(got.out, "up-ghcr.io") {
		t.Errorf("exit code %d:\n%s%s", got.code, got.out, got.errors)
	}
}

// The token of the configuration is for its own daemon: another address does
// not get it, by --addr or by a redirect.
func TestStatusKeepsItsToken(t *testing.T) {
	t.Parallel()
	var asked, leaked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("Authorization") != "" {
			leaked.Add(1)
		}
	}))
	t.Cleanup(other.Close)
	redirector := httptest.NewServer(http.RedirectHandler(other.URL+"/api/v1/snapshot", http.StatusFound))
	t.Cleanup(redirector.Close)
	token := file(t, "token", "s3cret\n")
	path := file(t, "pullchain.toml", "[admin]\nlisten = \""+strings.TrimPrefix(redirector.URL, "http://")+"\"\ntoken_file = \""+token+"\"\n")

	if got := run(t.Context(), []string{"status", "-c", path, "--addr", other.URL}); got.code != 4 || asked.Load() != 1 || leaked.Load() != 0 {
		t.Errorf("--addr: exit code %d, asked %d times, %d with the token", got.code, asked.Load(), leaked.Load())
	}
	if got := run(t.Context(), []string{"status", "-c", path}); got.code != 4 || asked.Load() != 1 {
		t.Errorf("a redirect: exit code %d, asked %d times", got.code, asked.Load())
	}
}

// A file that was broken while the daemon runs is no reason not to look at it.
func TestStatusWithABrokenConfiguration(t *testing.T) {
	t.Parallel()
	path := file(t, "pullchain.toml", "nonsense = 1\n")
	got := run(t.Context(), []string{"status", "-c", path, "--addr", adminOf(t, admin.Config{}, chain("ghcr.io", balancer.StateServing, ""))})
	if got.code != 0 || !strings.Contains(got.out, "up-ghcr.io") {
		t.Errorf("with --addr: exit code %d:\n%s%s", got.code, got.out, got.errors)
	}
}

func TestStatusWatchEndsOnInterrupt(t *testing.T) {
	t.Parallel()
	addr := adminOf(t, admin.Config{}, chain("ghcr.io", balancer.StateServing, ""))
	got := runUntil(t, "\n", func(string) {}, []string{"status", "--watch", "--addr", addr, "-o", "json"})
	if got.code != 130 || !strings.HasPrefix(got.out, `{"schema":1,`) {
		t.Errorf("exit code %d:\n%s%s", got.code, got.out, got.errors)
	}
}
