package cli_test

import (
	"regexp"
	"strings"
	"testing"
)

// TestDemo plays the story once, fast. What it tells is read from what happened,
// so the lines that are looked for are those of a chain that works.
func TestDemo(t *testing.T) {
	t.Parallel()
	got := run(t.Context(), []string{"demo", "--once", "--speed", "20"})
	if got.code != 0 || got.errors != "" {
		t.Fatalf("exit code %d:\n%s\n%s", got.code, got.out, got.errors)
	}
	acts := strings.Split(got.out, "\n== ")
	if len(acts) != 7 {
		t.Fatalf("%d acts:\n%s", len(acts)-1, got.out)
	}
	for i, want := range [][]string{
		{`pullchain status --watch --addr 127\.0\.0\.1:\d+`},
		{`pull library/postgres:17: ok, 4\.0 MiB in \d+ ms; all of it from docker-hub`, `Docker Hub has 17 of 20 pulls left`},
		{`manifest from cf-worker, the rest from docker-hub`, `docker-hub is 429 \(pull quota spent\)`, `now cooling: docker-hub`},
		{`in the middle of a layer: docker-hub cuts answers short \(truncated\); from byte 16\d{5} on it came from cf-worker`},
		{`manifest from mirror, the rest from docker-hub`, `cf-worker refuses connections`},
		{`an answer could not be used \(.*EOF\); asked again, and second-mirror had it right`, `mirror sent wrong bytes \(digest_mismatch\)`, `pull library/alpine:3\.20: ok, .*; all of it from mirror\n`},
		{`docker-hub can be asked again`, `cf-worker can be asked again`, `12 pulls came through and 0 did not\. Docker Hub said 429 to [1-9]`},
	} {
		for _, w := range want {
			if !regexp.MustCompile(w).MatchString(acts[i]) {
				t.Errorf("act %d does not tell %q:\n%s", i, w, acts[i])
			}
		}
	}
}

// A second program sees the daemon of the demo, and Ctrl-C ends both.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	var addr string
	got := runUntil(t, "pull library/alpine:3.20: ok", func(out string) {
		addr = word(out, "--addr ")
		if status := run(t.Context(), []string{"status", "--addr", addr}); status.code != 0 || !strings.Contains(status.out, "second-mirror") {
			t.Errorf("exit code %d:\n%s%s", status.code, status.out, status.errors)
		}
	}, []string{"demo"})
	if got.code != 0 || !strings.HasSuffix(got.out, "Stopped.\n") || got.errors != "" {
		t.Errorf("exit code %d:\n%s%s", got.code, got.out, got.errors)
	}
	if status := run(t.Context(), []string{"status", "--addr", addr}); status.code != 4 {
		t.Errorf("the daemon of the demo is still there: exit code %d", status.code)
	}
}
