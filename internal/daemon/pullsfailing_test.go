package daemon_test

import (
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/simnet"
)

// Upstreams that refuse everything close no gate and pass their probes. That clients get
// nothing is seen all the same, and over with the first answer that a client gets.
func TestWarn_PullsFailing(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	p.manifest()
	p.wantVerdict(admin.LevelOK, "1 of 1 registry pullable.")
	undoA, undoB := p.a.Inject(simnet.Fault{On: content, Status: 403}), p.b.Inject(simnet.Fault{On: content, Status: 403})
	for i := range 3 {
		if i == 2 {
			p.wantWarnings()
		}
		if got := p.get(p.another().Path()); got.Status != 403 {
			t.Fatalf("the client gets %d: %s", got.Status, got.Body)
		}
	}
	got := p.wantWarnings("pulls_failing:docker.io: docker.io")
	if got[0].Severity != diagnose.Critical {
		t.Errorf("it is %s, want critical: three images fail", got[0].Severity)
	}
	p.wantVerdict(admin.LevelDegraded, "1 of 1 registry pullable. Pulls from docker.io fail: all of the last 3 requests, for 3 different images; the last one: http_403.")
	if _, body := p.admin("/api/v1/warnings?lang=zh"); !strings.Contains(body, "从 docker.io 拉取失败") {
		t.Errorf("the API says %s", body)
	}
	undoA()
	undoB()
	p.manifestOf(p.another())
	p.wantWarnings()
	p.wantVerdict(admin.LevelOK, "1 of 1 registry pullable.")
}
