package cli_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/healthcheck"
	"github.com/pullchain/pullchain/internal/admin"
)

// operator has docker.io with hub and worker, of which worker cannot be asked.
type operator struct{}

func (operator) Act(_ context.Context, a admin.Action) (admin.Outcome, error) {
	a, err := a.Check()
	switch {
	case err != nil:
		return admin.Outcome{}, err
	case a.Registry != "docker.io":
		return admin.Outcome{}, admin.ErrNoRegistry(a.Registry)
	case (a.Kind == admin.KindDrain || a.Kind == admin.KindDisable) && !a.Force && a.Upstream == "hub":
		return admin.Outcome{}, admin.ErrLeavesNone(a.Registry)
	case a.Upstream != "" && a.Upstream != "hub" && a.Upstream != "worker":
		return admin.Outcome{}, admin.ErrNoUpstream(a.Registry, a.Upstream)
	}
	done := admin.Outcome{Operation: a.Kind, Registry: a.Registry, Upstream: a.Upstream, After: "standby", Kept: true, TOML: "[[registry]]\n"}
	if a.TTL > 0 {
		until := time.Now().Add(a.TTL)
		done.ExpiresAt = &until
	}
	switch a.Kind {
	case admin.KindReorder:
		done.After = strings.Join(a.Order, ", ")
	case admin.KindDrain, admin.KindDisable:
		done.After, done.InFlight, done.Kept = "drained", 2, a.Reason != "memory"
	case admin.KindProbe:
		done.Probes = []admin.Probed{{Upstream: "hub", Result: healthcheck.Result{TookMS: 12.4}}}
		if a.Upstream != "hub" {
			done.Probes = append(done.Probes, admin.Probed{Upstream: "worker", Result: healthcheck.Result{Error: "connection \x1b[2Jrefused"}})
		}
	}
	return done, nil
}

// operated is a daemon with an override.
func operated() admin.Snapshot {
	now := time.Now()
	return admin.Snapshot{
		Schema: admin.Schema, Now: now,
		Registries: []admin.Registry{{Snapshot: balancer.Snapshot{Registry: "docker.io", Pullable: true, Lanes: []balancer.LaneSnapshot{
			{Upstream: "hub", Order: 1, State: "drained", InFlight: 2}, {Upstream: "worker", Order: 2, State: "serving"},
		}}}},
		Overrides: []admin.Override{{Kind: admin.KindDrain, Registry: "docker.io", Upstream: "hub", Actor: "unix socket", Reason: "new \x1b[2Jdisk", At: now, ExpiresAt: now.Add(22 * time.Minute)}},
	}
}

// Each action says what it has done, and each refusal has its exit code.
func TestUpstreamActions(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(admin.New(admin.Config{}, admin.Sources{Snapshot: operated, Operator: operator{}}))
	t.Cleanup(s.Close)
	tests := []struct {
		args        string
		code        int
		out, errors string
	}{
		{"drain docker.io/worker --ttl 22m", 0, "docker.io/worker: gets nothing new for 22 min. Under way there are 2 requests", ""},
		{"drain docker.io/worker --toml", 0, "\n# This in the configuration would make it permanent.\n[[registry]]\n", ""},
		{"disable docker.io/worker --reason memory", 0, "ends with a restart too", ""},
		{"disable docker.io/worker --lang zh", 0, "docker.io/worker：60 分钟内不再接收新请求", ""},
		{"drain docker.io/hub", 9, "", "docker.io would have no upstream left that may be asked; --force does it all the same"},
		{"drain docker.io/hub --force", 0, "docker.io/hub: gets nothing new for 60 min", ""},
		{"drain docker.io/worker --ttl 721h", 2, "", "belongs into the configuration"},
		{"drain docker.io/worker --ttl 0s", 2, "", "belongs into the configuration"},
		{"drain docker.io", 2, "", "docker.io is not REGISTRY/NAME"},
		{"drain docker.io/none", 2, "", "there is no upstream docker.io/none"},
		{"drain ghcr.io/hub", 2, "", "there is no registry ghcr.io"},
		{"enable docker.io/hub", 0, "docker.io/hub: may be asked again; it is standby now\n", ""},
		{"pin docker.io/worker", 0, "docker.io/worker: is asked first for 60 min, while it can be asked. Undo: pullchain upstream unpin docker.io\n", ""},
		{"unpin docker.io", 0, "docker.io: none of its upstreams is pinned\n", ""},
		{"order docker.io worker hub", 0, "docker.io: asked in the order worker, hub for 60 min. Undo: pullchain upstream order docker.io\n", ""},
		{"order docker.io", 0, "docker.io: asked in the configured order", ""},
		{"probe docker.io/hub", 0, "docker.io/hub: the probe passed in 12 ms\n", ""},
		{"probe docker.io", 1, "docker.io/worker: the probe failed: connection", ""},
		{"reset docker.io/hub --breaker", 0, "docker.io/hub: its breakers are closed; it is standby now\n", ""},
		{"reset docker.io/hub --cooldown", 0, "docker.io/hub: its cooldowns are over", ""},
		{"reset docker.io/hub --quarantine", 0, "docker.io/hub: its quarantine is over", ""},
		{"reset docker.io/hub --quarantine --breaker", 2, "", "can't be used together"},
		{"enable docker.io/hub -o json", 0, `"operation": "enable"`, ""},
		{"list", 0, "docker.io  1     hub       drained  2          drain by unix socket, ends in 22 min", ""},
		{"list docker.io -o json", 0, `"schema": 1`, ""},
		{"list ghcr.io", 2, "", "there is no registry ghcr.io"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			got := run(t.Context(), append(append([]string{"upstream"}, strings.Fields(tt.args)...), "--addr", s.URL))
			if got.code != tt.code || !strings.Contains(got.out, tt.out) || !strings.Contains(got.errors, tt.errors) {
				t.Errorf("exit code %d\n%s%s; want %d with %q and %q", got.code, got.out, got.errors, tt.code, tt.out, tt.errors)
			}
			if strings.Contains(got.out, "\x1b") {
				t.Errorf("an escape came through: %q", got.out)
			}
		})
	}
}

// Status tells what operators have done, until when, and how to undo it.
func TestStatusShowsOverrides(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(admin.New(admin.Config{}, admin.Sources{Snapshot: operated}))
	t.Cleanup(s.Close)
	got := run(t.Context(), []string{"status", "--addr", s.URL})
	const want = "! override: drain docker.io/hub by unix socket, ends in 22 min (pullchain upstream enable docker.io/hub): new "
	if !strings.Contains(got.out, want) || strings.Contains(got.out, "\x1b") {
		t.Errorf("no %q in\n%q", want, got.out)
	}
}
