package daemon

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/config"
)

const twoUpstreams = `
[[registry]]
name = "docker.io"
[[registry.upstream]]
name = "hub"
url = "https://hub.example.com"
trust = "resolve"
[[registry.upstream]]
name = "worker"
url = "https://worker.example.com"
trust = "resolve"
`

// Each override ends at its time and not before, although one timer serves all: in the
// snapshot, in the chain, in the file, in the log and in the events.
func TestOverridesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, err := config.Parse("x.toml", []byte(twoUpstreams), nil)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		d, err := New(cfg, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		d.overrides.load(&state{dir: stateDir(dir)})
		ctx, cancel := context.WithCancel(t.Context())
		var ending sync.WaitGroup
		ending.Go(func() { d.endOverrides(ctx) })
		act := func(k admin.Kind, upstream string, ttl time.Duration) {
			t.Helper()
			if _, err := d.Act(ctx, admin.Action{Kind: k, Registry: "docker.io", Upstream: upstream, TTL: ttl, Actor: "test"}); err != nil {
				t.Fatal(err)
			}
		}
		check := func(after time.Duration, want string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			var got []string
			for _, v := range d.Snapshot().Overrides {
				got = append(got, string(v.Kind)+" "+v.Upstream)
			}
			file, err := os.ReadFile(filepath.Join(dir, overridesFile))
			if err != nil || strings.Count(string(file), `"kind"`) != len(got) {
				t.Errorf("the file has %s, %v", file, err)
			}
			if strings.Join(got, ", ") != want {
				t.Errorf("%v, want %s", got, want)
			}
		}
		act(admin.KindDrain, "hub", time.Minute)
		act(admin.KindPin, "worker", 30*time.Minute)
		check(30*time.Second, "drain hub, pin worker")
		act(admin.KindDisable, "hub", 0) // in the place of the drain, for an hour
		check(29*time.Minute+29*time.Second, "pin worker, disable hub")
		check(time.Second, "disable hub")
		if s := d.Snapshot().Registries[0]; s.Pinned != "" || s.Lanes[0].State != balancer.StateDisabled {
			t.Errorf("pinned %q, hub is %q", s.Pinned, s.Lanes[0].State)
		}
		check(time.Hour, "")
		if s := d.Snapshot().Registries[0]; s.Lanes[0].State == balancer.StateDisabled {
			t.Error("hub is disabled still")
		}
		cancel()
		ending.Wait()
		if n := strings.Count(log.String(), `msg="override ended"`); n != 2 {
			t.Errorf("the log tells of %d ends:\n%s", n, log.String())
		}
		var ends []string
		events, _, _ := d.Events().Since(0)
		for _, e := range events {
			if e.Override != nil && e.Override.Ended {
				ends = append(ends, e.Override.Action+" "+e.Upstream)
			}
		}
		if got := strings.Join(ends, ", "); got != "pin worker, disable hub" {
			t.Errorf("the events tell of the ends of %s", got)
		}
	})
}

// A file that takes the other upstreams away does not leave the registry without any, for
// an override that was let through because there were others; one that was forced stands.
func TestOverridesOfTheLastUpstream(t *testing.T) {
	for forced, want := range map[bool]string{false: balancer.StateUnknown, true: balancer.StateDrained} {
		cfg, err := config.Parse("x.toml", []byte(twoUpstreams), nil)
		if err != nil {
			t.Fatal(err)
		}
		d, err := New(cfg, Options{})
		if err != nil {
			t.Fatal(err)
		}
		d.overrides.load(&state{dir: stateDir(t.TempDir())})
		act := admin.Action{Kind: admin.KindDrain, Registry: "docker.io", Upstream: "hub", Actor: "test", Force: forced}
		if _, err := d.Act(t.Context(), act); err != nil {
			t.Fatal(err)
		}
		less, err := config.Parse("x.toml", []byte(twoUpstreams[:strings.LastIndex(twoUpstreams, "[[registry.upstream]]")]), nil)
		if err == nil {
			err = d.Reload(less)
		}
		if err != nil {
			t.Fatal(err)
		}
		s := d.Snapshot()
		if got := s.Registries[0].Lanes[0].State; got != want || len(s.Overrides) > 0 != forced {
			t.Errorf("forced %t: hub is %s with the overrides %v, want %s", forced, got, s.Overrides, want)
		}
	}
}
