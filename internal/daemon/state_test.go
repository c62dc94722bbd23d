package daemon_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/internal/diagnose"
)

// stateWarning is the warning about the state directory; its Code is empty if there is none.
func (r *rig) stateWarning() diagnose.Warning {
	for _, w := range r.Daemon.Snapshot().Warnings {
		if strings.HasPrefix(w.Code, "state_") {
			return w
		}
	}
	return diagnose.Warning{}
}

// Two daemons with one directory: the second serves, says that it keeps nothing, and leaves
// alone what the first keeps.
func TestStateDirOfAnotherDaemon(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.did(ofA+"drain", `{"reason":"new disk"}`)
	before, err := os.ReadFile(p.stateFile("overrides.json"))
	if err != nil {
		t.Fatal(err)
	}
	second := &pair{rig: &rig{t: t, net: p.net, client: p.client, log: &safeBuffer{}, path: p.path}, image: p.image}
	second.start()
	defer second.end()

	if got := second.manifest(); got.servedBy() != "a" {
		t.Errorf("the second is served by %q, want a: the drain is the first one's", got.servedBy())
	}
	w := second.stateWarning()
	if dir := strings.TrimSuffix(p.stateFile(""), "/"); w.Code != diagnose.StateInUse || w.Values["dir"] != dir {
		t.Errorf("the second warns of %+v", w)
	}
	if !strings.Contains(second.log.String(), "another pullchain uses this directory") {
		t.Error("and the log does not tell")
	}
	if o, _, _ := second.act(ofB+"drain", `{"force":true}`); o.Kept {
		t.Error("the second says that it keeps its override")
	}
	after, err := os.ReadFile(p.stateFile("overrides.json"))
	if d := cmp.Diff(string(before), string(after)); d != "" || err != nil {
		t.Errorf("what the first keeps (-before +after): %v\n%s", err, d)
	}
	if w := p.stateWarning(); w.Code != "" {
		t.Errorf("the first warns of %+v", w)
	}

	// Once the first is gone, the next to start has the directory, with all that is in it.
	p.restart()
	if list := p.Daemon.Snapshot().Overrides; len(list) != 1 || list[0].Upstream != "a" || p.stateWarning().Code != "" {
		t.Errorf("after a restart: %+v, %+v", list, p.stateWarning())
	}
}

// Without a directory that can be written a daemon serves and says what it loses.
func TestStateDirThatCannotBeMade(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.end()
	if err := os.RemoveAll(p.stateFile("")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(strings.TrimSuffix(p.stateFile(""), "/"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	if got := p.manifest(); got.servedBy() != "a" {
		t.Errorf("served by %q, want a", got.servedBy())
	}
	if w := p.stateWarning(); w.Code != diagnose.StateUnusable || w.Values["trouble"] == "" {
		t.Errorf("it warns of %+v", w)
	}
}
