package credhelper

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// install puts a shell script into PATH as docker-credential-test.
func install(t *testing.T, script string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-test"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return dir
}

// TestProtocol: the argument is "get", the server alone is on the standard input, and of
// our environment the helper gets what it needs and no more.
func TestProtocol(t *testing.T) {
	dir := install(t, `cat > "$TMPDIR/stdin"; echo "$@" > "$TMPDIR/args"; env > "$TMPDIR/env"; echo '{"ServerURL":"x","Username":"AWS","Secret":"s3cr3t-token"}'`)
	t.Setenv("TMPDIR", dir)
	t.Setenv("AWS_PROFILE", "team")
	t.Setenv("HUB_PASSWORD", "of-another-upstream")
	username, secret, err := Program{"test", "registry.example:5000"}.Get(t.Context())
	if err != nil || username != "AWS" || secret.Reveal() != "s3cr3t-token" {
		t.Fatalf("%q, %q, %v", username, secret.Reveal(), err)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	if got := read("stdin"); got != "registry.example:5000" {
		t.Errorf("standard input %q", got)
	}
	if got := read("args"); got != "get" {
		t.Errorf("arguments %q", got)
	}
	env := strings.Split(read("env"), "\n")
	if !slices.Contains(env, "AWS_PROFILE=team") || slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, "HUB_PASSWORD=") }) {
		t.Errorf("environment %q; want AWS_PROFILE and not HUB_PASSWORD", env)
	}
}

// TestNoLogin: a helper that knows of none is not a helper that fails.
func TestNoLogin(t *testing.T) {
	install(t, "echo 'credentials not found in native keychain'; exit 1")
	if username, secret, err := (Program{"test", "x"}).Get(t.Context()); username != "" || secret != "" || err != nil {
		t.Errorf("%q, %q, %v; want nothing", username, secret.Reveal(), err)
	}
}

// TestFailures: each names the program, and none tells what may be a login.
func TestFailures(t *testing.T) {
	for name, tt := range map[string]struct{ script, want string }{
		"complains":      {"echo 'AccessDenied: no role'; exit 1", `docker-credential-test failed (exit status 1): "AccessDenied: no role"`},
		"on stderr":      {"echo oops >&2; exit 3", `docker-credential-test failed (exit status 3): "oops"`},
		"with a login":   {`echo '{"Username":"u","Secret":"s3cr3t"}'; exit 1`, "docker-credential-test failed (exit status 1)"},
		"no JSON":        {"echo s3cr3t", "docker-credential-test wrote something else than the JSON of a login"},
		"no secret":      {`echo '{"Username":"u"}'`, "docker-credential-test gave a login without a username or without a secret"},
		"two lines":      {`printf '%s' '{"Username":"u","Secret":"s3cr3t\nX: y"}'`, "docker-credential-test gave a login with control characters"},
		"without an end": {"while :; do echo s3cr3t-s3cr3t-s3cr3t-s3cr3t; done", fmt.Sprintf("docker-credential-test wrote more than %d bytes", maxReply)},
	} {
		t.Run(name, func(t *testing.T) {
			install(t, tt.script)
			_, secret, err := Program{"test", "x"}.Get(t.Context())
			if err == nil || err.Error() != tt.want || secret != "" {
				t.Errorf("%v; want %s", err, tt.want)
			}
		})
	}
}

// TestHangingHelperIsEnded: with the request that waits, and with what it has started.
func TestHangingHelperIsEnded(t *testing.T) {
	dir := install(t, `echo > "$TMPDIR/runs"; sleep 600`)
	t.Setenv("TMPDIR", dir)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(dir, "runs")); err == nil {
				cancel()
			}
		}
	}()
	_, _, err := Program{"test", "x"}.Get(ctx)
	if err == nil || !strings.Contains(err.Error(), "docker-credential-test gave no answer in time") {
		t.Error(err)
	}
}

func TestMissingHelper(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, _, err := Program{"ecr-login", "x"}.Get(t.Context())
	if want := "docker-credential-ecr-login is not in PATH: install it there"; err == nil || err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
}

func TestIsName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"ecr-login": true, "desktop.exe": true, "": false, "../x": false, "a b": false, "-x": false, "a/b": false, strings.Repeat("a", 65): false} {
		if IsName(name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
}
