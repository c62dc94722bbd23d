package admin_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
)

// ask sends a request to a handler over s.
func ask(cfg admin.Config, s admin.Snapshot, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Host = "127.0.0.1:5152"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	admin.New(cfg, admin.Sources{Snapshot: func() admin.Snapshot { return s }}).ServeHTTP(w, r)
	return w
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	ready, draining, down := snapshot(), snapshot(), snapshot()
	draining.Draining = true
	down.Registries = down.Registries[2:]
	starting, noNetwork := snapshot(), snapshot()
	starting.Registries = []admin.Registry{{Snapshot: unproved("docker.io", lane(1, "docker-hub", balancer.StateUnknown, "", 0))}}
	noNetwork.Registries = []admin.Registry{{Snapshot: unproved("docker.io", falling(1, "docker-hub", pullchain.CodeDNS))}}
	noNetwork.Warnings = nil
	locked := admin.Config{Listen: "0.0.0.0:5152", Token: "s3cret"}
	tests := []struct {
		name           string
		cfg            admin.Config
		s              admin.Snapshot
		method, target string
		header         []string
		status         int
		body           string // is contained
	}{
		{"alive", admin.Config{}, down, "GET", "/-/healthz", nil, 200, "ok\n"},
		{"alive, asked by HEAD", admin.Config{}, down, "HEAD", "/-/healthz", nil, 200, ""},
		{"ready", admin.Config{}, ready, "GET", "/-/readyz", nil, 200, "ok\n"},
		{"one registry is ready", admin.Config{}, ready, "GET", "/-/readyz?registry=ghcr.io", nil, 200, "ok\n"},
		{"one registry is not", admin.Config{}, ready, "GET", "/-/readyz?registry=quay.io", nil, 503, "quay.io has no path: quay does not answer"},
		{"an unknown registry", admin.Config{}, ready, "GET", "/-/readyz?registry=nope.io", nil, 404, `"code":"unknown_registry"`},
		{"nothing is ready", admin.Config{}, down, "GET", "/-/readyz", nil, 503, "not ready: 0 of 1 registry pullable."},
		{"just started", admin.Config{}, starting, "GET", "/-/readyz", nil, 200, "ok\n"},
		{"a start without a network", admin.Config{}, noNetwork, "GET", "/-/readyz", nil, 503, "docker.io has not been reached since the start: docker-hub has no address (dns)."},
		{"draining", admin.Config{}, draining, "GET", "/-/readyz", nil, 503, "draining\n"},
		{"draining, one registry", admin.Config{}, draining, "GET", "/-/readyz?registry=ghcr.io", nil, 503, "draining\n"},
		{"draining is still alive", admin.Config{}, draining, "GET", "/-/healthz", nil, 200, "ok\n"},
		{"the table", admin.Config{}, ready, "GET", "/", nil, 200, "docker.io"},
		{"the table in Chinese", admin.Config{}, ready, "GET", "/?lang=zh", nil, 200, "降级"},
		{"no such page", admin.Config{}, ready, "GET", "/api/v1/nope", nil, 404, `"code":"not_found"`},
		{"a write", admin.Config{}, ready, "POST", "/api/v1/snapshot", nil, 405, `"code":"method_not_allowed"`},
		{"a write to nowhere", admin.Config{}, ready, "DELETE", "/nope", nil, 405, `"code":"method_not_allowed"`},

		{"by a foreign name", admin.Config{}, ready, "GET", "/api/v1/snapshot", []string{"Host", "evil.example:5152"}, 421, `"code":"unknown_host"`},
		{"health by a foreign name", admin.Config{}, ready, "GET", "/-/readyz", []string{"Host", "evil.example"}, 421, `"code":"unknown_host"`},
		{"without a name", admin.Config{}, ready, "GET", "/", []string{"Host", ""}, 421, `"code":"unknown_host"`},
		{"by localhost", admin.Config{}, ready, "GET", "/", []string{"Host", "localhost:5152"}, 200, "docker.io"},
		{"by a name under localhost", admin.Config{}, ready, "GET", "/", []string{"Host", "pullchain.LOCALHOST"}, 200, "docker.io"},
		{"by an IPv6 address", admin.Config{}, ready, "GET", "/", []string{"Host", "[::1]:5152"}, 200, "docker.io"},
		{"by its own name", admin.Config{Listen: "node7:5152"}, ready, "GET", "/", []string{"Host", "Node7:5152"}, 200, "docker.io"},
		{"by an allowed name", admin.Config{AllowedHosts: []string{"admin.example.com"}}, ready, "GET", "/", []string{"Host", "admin.example.com"}, 200, "docker.io"},

		{"no token", locked, ready, "GET", "/api/v1/snapshot", nil, 401, `"code":"unauthorized"`},
		{"a wrong token", locked, ready, "GET", "/", []string{"Authorization", "Bearer s3cre"}, 401, `"code":"unauthorized"`},
		{"the token in the wrong scheme", locked, ready, "GET", "/", []string{"Authorization", "Basic s3cret"}, 401, `"code":"unauthorized"`},
		{"the token", locked, ready, "GET", "/", []string{"Authorization", "bearer s3cret"}, 200, "docker.io"},
		{"the token, by any name", locked, ready, "GET", "/", []string{"Authorization", "Bearer s3cret", "Host", "pullchain.svc"}, 200, "docker.io"},
		{"health needs no token", locked, ready, "GET", "/-/healthz", []string{"Host", "pullchain.svc"}, 200, "ok\n"},
		{"readiness needs none", locked, ready, "GET", "/-/readyz", nil, 200, "ok\n"},
		{"its reason, with the token", locked, down, "GET", "/-/readyz", []string{"Authorization", "Bearer s3cret"}, 503, "quay does not answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := ask(tt.cfg, tt.s, tt.method, tt.target, tt.header...)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.body) {
				t.Errorf("got %d %q, want %d with %q", w.Code, w.Body, tt.status, tt.body)
			}
			if tt.method == http.MethodHead && w.Body.Len() != 0 {
				t.Errorf("a HEAD has the body %q", w.Body)
			}
			checkSecured(t, w)
		})
	}
}

// checkSecured looks for what every answer has.
func checkSecured(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	h := w.Header()
	if !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("X-Content-Type-Options") != "nosniff" ||
		h.Get("Cache-Control") != "no-store" || h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("headers: %v", h)
	}
	switch {
	case w.Code == http.StatusUnauthorized && h.Get("WWW-Authenticate") == "":
		t.Error("401 without a challenge")
	case w.Code == http.StatusMethodNotAllowed && h.Get("Allow") != "GET, HEAD":
		t.Errorf("405 allows %q", h.Get("Allow"))
	}
	if strings.HasPrefix(w.Body.String(), "{\"type\"") && h.Get("Content-Type") != "application/problem+json" {
		t.Errorf("a problem of the type %q", h.Get("Content-Type"))
	}
}

// Without a token a client learns that we are not ready, and of no upstreams.
func TestReadinessSaysNoMoreThanNeeded(t *testing.T) {
	t.Parallel()
	down := snapshot()
	down.Registries = down.Registries[2:]
	w := ask(admin.Config{Token: "s3cret"}, down, "GET", "/-/readyz")
	if w.Code != 503 || w.Body.String() != "not ready\n" {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
}

func TestSnapshotIsJSON(t *testing.T) {
	t.Parallel()
	w := ask(admin.Config{}, snapshot(), "GET", "/api/v1/snapshot")
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("got %d %s", w.Code, w.Header().Get("Content-Type"))
	}
	var got admin.Snapshot
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(snapshot(), got); diff != "" {
		t.Errorf("after a round trip (-want +got):\n%s", diff)
	}
	var tree map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &tree); err != nil {
		t.Fatal(err)
	}
	registry := tree["registries"].([]any)[0].(map[string]any)
	if tree["schema"] != 1.0 || registry["registry"] != "docker.io" || len(registry["upstreams"].([]any)) != 2 || len(registry["probes"].([]any)) != 2 {
		t.Errorf("the fields of the API have moved: %v", tree)
	}
}

func TestSnapshotETag(t *testing.T) {
	t.Parallel()
	s := snapshot()
	first := ask(admin.Config{}, s, "GET", "/api/v1/snapshot")
	tag := first.Header().Get("ETag")

	s.Now, s.UptimeS = s.Now.Add(time.Minute), s.UptimeS+60
	if w := ask(admin.Config{}, s, "GET", "/api/v1/snapshot", "If-None-Match", `"x", `+tag); w.Code != 304 || w.Body.Len() != 0 {
		t.Errorf("only time has passed: got %d with %d bytes, want 304", w.Code, w.Body.Len())
	}
	s.Cache.Free = 12345
	if w := ask(admin.Config{}, s, "GET", "/api/v1/snapshot", "If-None-Match", tag); w.Code != 304 {
		t.Errorf("only the disk has filled: got %d, want 304", w.Code)
	}
	s.Registries[1].Lanes[0].State = balancer.StateDown
	s.Registries[1].Lanes[0].Code = pullchain.CodeDNS
	if w := ask(admin.Config{}, s, "GET", "/api/v1/snapshot", "If-None-Match", tag); w.Code != 200 {
		t.Errorf("a lane went down: got %d, want 200", w.Code)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		cfg  admin.Config
		want string // in the error; empty is none
	}{
		{"zero", admin.Config{}, ""},
		{"loopback", admin.Config{Listen: "[::1]:5152"}, ""},
		{"localhost", admin.Config{Listen: "localhost:0"}, ""},
		{"no port", admin.Config{Listen: "127.0.0.1"}, "listen: \"127.0.0.1\" is not host:port"},
		{"open to the network", admin.Config{Listen: "0.0.0.0:5152"}, "listen: others can reach 0.0.0.0:5152: add token_file"},
		{"every address", admin.Config{Listen: ":5152"}, "add token_file"},
		{"open, with a token", admin.Config{Listen: ":5152", TokenFile: "token"}, ""},
		{"a pattern for a name", admin.Config{AllowedHosts: []string{"*"}}, "allowed_hosts: \"*\" is not a name"},
	}
	for _, tt := range tests {
		err := tt.cfg.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}
