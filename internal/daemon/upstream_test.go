package daemon_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/simnet"
)

// reset does what `pullchain upstream reset` does.
func (r *rig) reset(registry, upstream string) (int, string) {
	r.t.Helper()
	body := strings.NewReader(`{"registry":"` + registry + `","upstream":"` + upstream + `"}`)
	resp, err := r.client.Post("http://"+r.Daemon.AdminAddr()+"/api/v1/upstream:reset", "application/json", body)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// An operator that has put an upstream right has it asked again at once, whatever was
// learnt of it: a time that it named itself, and bytes that proved wrong.
func TestUpstreamReset(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	undo := p.a.Inject(limited())
	p.manifest()
	p.wantGate("a", "manifest", "cooldown", pullchain.CodeQuota)
	undo()
	if got := p.manifest(); got.servedBy() != "b" {
		t.Errorf("served by %q, want b: a has named a time", got.servedBy())
	}
	if status, text := p.reset("docker.io", "a"); status != http.StatusOK || !strings.Contains(text, `"state": "serving"`) {
		t.Fatalf("%d %s", status, text)
	}
	p.wantOpen("a", "manifest")
	if got := p.manifest(); got.servedBy() != "a" {
		t.Errorf("served by %q, want a", got.servedBy())
	}
	p.wantAsked("a", "", simnet.Manifests, 2)
}

func TestUpstreamResetOfNone(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	for name, code := range map[[2]string]string{{"docker.io", "c"}: "unknown_upstream", {"docker.io", ""}: "unknown_upstream", {"ghcr.io", "a"}: "unknown_registry", {"", "a"}: "unknown_registry"} {
		_, err := p.Daemon.Act(t.Context(), admin.Action{Kind: admin.KindReset, Registry: name[0], Upstream: name[1]})
		if no, ok := errors.AsType[*admin.Refusal](err); !ok || no.Code != code || no.Status != http.StatusNotFound {
			t.Errorf("%s/%s: %v", name[0], name[1], err)
		}
	}
	if status, text := p.reset("docker.io", "c"); status != http.StatusNotFound || !strings.Contains(text, "unknown_upstream") {
		t.Errorf("%d %s", status, text)
	}
}
