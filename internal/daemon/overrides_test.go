package daemon_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/internal/admin"
)

// stateFile is a file of the daemon's state directory.
func (r *rig) stateFile(name string) string {
	return filepath.Join(filepath.Dir(r.path), "state", name)
}

// A reload keeps what the operator said, also of a path that it makes anew.
func TestOverridesOutliveAReload(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.did(ofA+"drain", `{"reason":"new disk"}`)
	p.did(ofIt+"pin", `{"upstream":"b"}`)
	before := p.Daemon.Snapshot().Overrides
	p.rewrite(`name = "a"`, "name = \"a\"\nweight = 2.5")
	if err := p.hangup(); err != nil {
		t.Fatal(err)
	}
	s := p.Daemon.Snapshot()
	if d := cmp.Diff(before, s.Overrides); d != "" || len(before) != 2 {
		t.Errorf("overrides (-before +after):\n%s", d)
	}
	if got := p.lane("a").State; got != "drained" || s.Registries[0].Pinned != "b" {
		t.Errorf("a is %q and %q is pinned", got, s.Registries[0].Pinned)
	}
	p.did(ofA+"enable", `{}`)
	if got := p.manifest(); got.servedBy() != "b" {
		t.Errorf("served by %q, want b, which is pinned", got.servedBy())
	}
	p.did(ofIt+"unpin", `{}`)
	if got := p.manifest(); got.servedBy() != "a" {
		t.Errorf("served by %q, want a", got.servedBy())
	}
}

// So does a restart, from a file that no other user may read.
func TestOverridesOutliveARestart(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.did(ofA+"disable", `{"ttl_s":86400}`)
	p.did(ofIt+"reorder", `{"order":["b","a"]}`)
	before := p.Daemon.Snapshot().Overrides
	if info, err := os.Stat(p.stateFile("overrides.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	p.restart()
	s := p.Daemon.Snapshot()
	if d := cmp.Diff(before, s.Overrides); d != "" || len(before) != 2 {
		t.Errorf("overrides (-before +after):\n%s", d)
	}
	if got := p.lane("a").State; got != "disabled" || !slices.Equal(s.Registries[0].Reordered, []string{"b", "a"}) {
		t.Errorf("a is %q and the order %v", got, s.Registries[0].Reordered)
	}
	p.did(ofA+"enable", `{}`)
	p.did(ofIt+"reorder", `{"order":[]}`)
	p.restart()
	if list := p.Daemon.Snapshot().Overrides; len(list) != 0 || p.lane("a").State == "disabled" {
		t.Errorf("after their end: %+v", list)
	}
}

// What is gone from the configuration takes its overrides with it, and the log says so.
func TestOverridesOfWhatIsGone(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.did(ofB+"drain", `{}`)
	p.did(ofIt+"pin", `{"upstream":"b"}`)
	p.did(ofIt+"reorder", `{"order":["b","a"]}`)
	p.did(ofA+"drain", `{"force":true}`)
	p.rewrite(`name = "b"`, `name = "c"`)
	if err := p.hangup(); err != nil {
		t.Fatal(err)
	}
	s := p.Daemon.Snapshot()
	if len(s.Overrides) != 1 || s.Overrides[0].Upstream != "a" || s.Registries[0].Pinned != "" || s.Registries[0].Reordered != nil {
		t.Errorf("overrides %+v, pinned %q, order %v", s.Overrides, s.Registries[0].Pinned, s.Registries[0].Reordered)
	}
	if n := strings.Count(p.log.String(), "override dropped"); n != 3 {
		t.Errorf("the log tells of %d, want 3", n)
	}
	p.restart()
	if n := strings.Count(p.log.String(), "override dropped"); n != 3 {
		t.Error("they are in the file all the same")
	}
}

// A file that is no use is set by, and costs nothing but what it held.
func TestSpoiltOverrides(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no JSON":        `{"schema":1,"overrides":[{"kind":"dr`,
		"another schema": `{"schema":7,"overrides":[{"kind":"drain","registry":"docker.io","upstream":"a","expires_at":"2999-01-01T00:00:00Z"}]}`,
		"empty":          ``,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, nil)
			p.end()
			if err := os.WriteFile(p.stateFile("overrides.json"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			p.start()
			if got := p.manifest(); got.servedBy() != "a" {
				t.Errorf("served by %q, want a", got.servedBy())
			}
			if kept, err := os.ReadFile(p.stateFile("overrides.json.spoilt")); string(kept) != text || err != nil {
				t.Errorf("there is %q to be looked at, %v", kept, err)
			}
			if !strings.Contains(p.log.String(), "overrides are lost") {
				t.Error("the log does not tell of it")
			}
			if done := p.did(ofA+"drain", `{}`); !done.Kept {
				t.Error("nothing can be kept any more")
			}
		})
	}
}

// A file of another hand is believed no more than a request.
func TestOverridesThatNoneHasMade(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.end()
	const text = `{"schema":1,"overrides":[
		{"kind":"explode","registry":"docker.io","upstream":"a","expires_at":"2999-01-01T00:00:00Z"},
		{"kind":"drain","registry":"docker.io","upstream":"a"},
		{"kind":"drain","registry":"docker.io","upstream":"a","expires_at":"2001-01-01T00:00:00Z"},
		{"kind":"reorder","registry":"docker.io","order":["a"],"expires_at":"2999-01-01T00:00:00Z"},
		{"kind":"pin","registry":"docker.io","upstream":"b","expires_at":"2999-01-01T00:00:00Z"}]}`
	if err := os.WriteFile(p.stateFile("overrides.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	list := p.Daemon.Snapshot().Overrides
	if len(list) != 1 || list[0].Kind != admin.KindPin || time.Until(list[0].ExpiresAt) > admin.MaxTTL {
		t.Errorf("overrides %+v", list)
	}
}

// Where nothing can be kept, overrides last until the restart, and the operator is told.
func TestOverridesWithoutADirectory(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"pullchain.toml/below", "off"} {
		t.Run(strings.ReplaceAll(dir, "/", " "), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, nil)
			p.rewrite(`state_dir = "state"`, `state_dir = "`+dir+`"`)
			p.restart()
			if done := p.did(ofA+"drain", `{}`); done.Kept || done.After != "drained" {
				t.Errorf("outcome %+v", done)
			}
			if told := strings.Contains(p.log.String(), "nothing can be kept over a restart"); told != (dir != "off") {
				t.Errorf("the log tells of it: %t", told)
			}
			p.restart()
			if list := p.Daemon.Snapshot().Overrides; len(list) != 0 {
				t.Errorf("overrides %+v", list)
			}
		})
	}
}
