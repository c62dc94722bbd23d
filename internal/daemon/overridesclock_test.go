package daemon

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/clocktest"
	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/lapse"
)

// TestF60_ClockOfOverrides drains an upstream for an hour and sets the clock by a day: while
// the daemon runs, and between two runs, where only the file tells of it. After a day forward
// it is over at once. After a day back it lasts an hour and no longer, and is told to.
func TestF60_ClockOfOverrides(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse("x.toml", []byte(twoUpstreams), nil)
	if err != nil {
		t.Fatal(err)
	}
	newDaemon := func(dir string) *Daemon {
		d, err := New(cfg, Options{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		d.loadOverrides(&state{dir: stateDir(dir)})
		return d
	}
	for _, jump := range clocktest.Jumps {
		t.Run(jump.Name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			d := newDaemon(dir)
			if _, err := d.Act(t.Context(), admin.Action{Kind: admin.KindDrain, Registry: "docker.io", Upstream: "hub", TTL: time.Hour}); err != nil {
				t.Fatal(err)
			}
			check := func(what string, d *Daemon, now time.Time) {
				t.Helper()
				list := d.overrides.all(now)
				if lasts := jump.By < 0; (len(list) == 1) != lasts {
					t.Fatalf("%s: %+v", what, list)
				}
				for _, v := range list {
					if left := v.ExpiresAt.Sub(now.Round(0)); left <= 59*time.Minute || left > time.Hour+time.Second {
						t.Errorf("%s: it is told to last %v more", what, left)
					}
				}
				if list = d.overrides.all(now.Add(time.Hour)); len(list) != 0 {
					t.Errorf("%s: after its hour: %+v", what, list)
				}
			}
			check("while it runs", d, clocktest.Set(time.Now(), jump.By))

			// As the clock after the jump sees what was written before it.
			path := filepath.Join(dir, overridesFile)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			list := d.overrides.all(time.Now())
			for _, at := range []time.Time{list[0].At, list[0].ExpiresAt} {
				was := at.Format(time.RFC3339Nano)
				if n := strings.Count(string(text), was); n != 1 {
					t.Fatalf("%s is %d times in %s", was, n, text)
				}
				text = []byte(strings.Replace(string(text), was, at.Add(-jump.By).Format(time.RFC3339Nano), 1))
			}
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			check("between two runs", newDaemon(dir), time.Now())
		})
	}
}

// What is kept of an override's end is a time by both clocks, so that a clock that is set
// after a restart changes nothing either.
func TestF60_ClockOfOverridesAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := time.Now().Add(-time.Minute)
	kept := savedOverrides{overridesSchema, []admin.Override{{Kind: admin.KindPin, Registry: "docker.io", Upstream: "hub", At: at, ExpiresAt: at.Add(time.Hour)}}}
	if err := stateDir(dir).save(overridesFile, kept); err != nil {
		t.Fatal(err)
	}
	o := newOverrides(slog.New(slog.DiscardHandler))
	o.load(&state{dir: stateDir(dir)})
	later := clocktest.Set(time.Now(), -24*time.Hour)
	if left := lapse.Left(o.list[0].ExpiresAt, later); left > 59*time.Minute || left < 58*time.Minute {
		t.Errorf("%v is left of its hour", left)
	}
}
