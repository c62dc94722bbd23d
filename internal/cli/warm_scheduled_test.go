package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/warm"
)

// scheduleOf serves the operator's plane of a daemon with those tables, which is running
// them, and returns its address.
func scheduleOf(t *testing.T, tables ...warm.Config) string {
	t.Helper()
	s := warm.NewScheduler(warm.Options{
		Hold: func(img warm.Image) string {
			return map[string]string{"quay.io": warm.HeldMetered, "ghcr.io": warm.HeldQuota, "gcr.io": warm.HeldUnreachable}[img.Registry]
		},
		Pull: func(_ context.Context, _ warm.Config, img warm.Image) (warm.Result, bool) {
			if img.Repo == "library/gone" {
				return warm.Result{Image: img.String(), Error: "HTTP 404: no \x1b[31msuch thing", Err: errors.New("no")}, true
			}
			return warm.Result{Image: img.String(), OK: true, Blobs: 3, Bytes: 5 << 20, Fetched: 1, New: 1 << 20}, true
		},
	})
	s.Set(tables)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	server := httptest.NewServer(admin.New(admin.Config{}, admin.Sources{Snapshot: func() admin.Snapshot { return admin.Snapshot{Schema: admin.Schema} }, Warm: s}))
	t.Cleanup(func() {
		server.Close()
		stop()
		running.Wait()
	})
	return strings.TrimPrefix(server.URL, "http://")
}

func TestWarmScheduled(t *testing.T) {
	t.Parallel()
	fine := scheduleOf(t, warm.Config{Images: []string{"alpine:3.20", "quay.io/a/b:1", "ghcr.io/a/b:1", "gcr.io/a/b:1"}})
	for _, tt := range []struct {
		name string
		args []string
		code int
		out  []string // are contained
		errs string
	}{
		{"not run yet", []string{"--addr", fine, "--dry-run"}, 0, []string{"every 6 h, next ", "; images: 4\n", "  it has not run yet:\n    docker.io/library/alpine:3.20\n"}, ""},
		{"run now", []string{"--addr", fine}, 0, []string{
			"  last run ", "    docker.io/library/alpine:3.20: ok, 1 of 3 blobs fetched, 1.0 MiB of 5.0 MiB\n",
			"    quay.io/a/b:1: left out, only a metered upstream could serve it now\n",
			"    ghcr.io/a/b:1: left out, the quota that is left is for clients\n", "    gcr.io/a/b:1: left out, its registry cannot be reached\n",
		}, ""},
		{"in Chinese", []string{"--addr", fine, "--dry-run", "--lang", "zh"}, 0, []string{"每 6 小时，下次 "}, ""},
		{"one that fails", []string{"--addr", scheduleOf(t, warm.Config{Images: []string{"gone:1"}})}, 1, []string{"    docker.io/library/gone:1: FAILED: HTTP 404: no "}, ""},
		{"no tables", []string{"--addr", scheduleOf(t)}, 1, nil, "no [[warm]] table"},
		{"with an image", []string{"--addr", fine, "alpine"}, 2, nil, "--scheduled takes what"},
	} {
		got := run(t.Context(), append([]string{"cache", "warm", "--scheduled"}, tt.args...))
		if got.code != tt.code || !strings.Contains(got.errors, tt.errs) || strings.Contains(got.out, "\x1b") {
			t.Errorf("%s: code %d, want %d; %s\n%s", tt.name, got.code, tt.code, got.errors, got.out)
		}
		for _, want := range tt.out {
			if !strings.Contains(got.out, want) {
				t.Errorf("%s: %q is not in:\n%s", tt.name, want, got.out)
			}
		}
	}
	var s admin.Warmth
	got := run(t.Context(), []string{"cache", "warm", "--scheduled", "--addr", fine, "-o", "json"})
	if err := json.Unmarshal([]byte(got.out), &s); err != nil || got.code != 0 || s.Schema != 1 || s.Plans[0].Runs < 2 || !s.Plans[0].Last.OK {
		t.Errorf("as JSON: %d, %v\n%s", got.code, err, got.out)
	}
}
