package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/cli"
	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/leaktest"
)

// TestMain lets tests start this test program as pullchain itself, where only a
// process will do: for signals.
func TestMain(m *testing.M) {
	if os.Getenv("PULLCHAIN_TEST_MAIN") != "" {
		os.Exit(cli.Main())
	}
	leaktest.Main(m, http.DefaultClient.CloseIdleConnections)
}

// A result is what a command line left behind.
type result struct {
	code        int
	out, errors string
}

// run runs a command line in this process, in an environment without any
// configuration of the machine's. env is NAME=value.
func run(ctx context.Context, args []string, env ...string) result {
	var out, errs bytes.Buffer
	code := runTo(ctx, &out, &errs, args, env)
	return result{code, out.String(), errs.String()}
}

// runTo is run for commands whose output is read while they run.
func runTo(ctx context.Context, out, errs io.Writer, args, env []string) int {
	return cli.Run(ctx, cli.Program{Args: args, Stdout: out, Stderr: errs, Getenv: func(name string) string {
		for _, e := range env {
			if value, ok := strings.CutPrefix(e, name+"="); ok {
				return value
			}
		}
		return ""
	}})
}

// file writes a file of a test and returns its path.
func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUsage(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		args, env   []string
		code        int
		out, errors string // are contained
	}{
		{"nothing", nil, nil, 2, "Commands:", "which command?"},
		{"help", []string{"--help"}, nil, 0, "Serve in the foreground.", ""},
		{"help of a command", []string{"status", "--help"}, nil, 0, "--watch", ""},
		{"help, by the locale", []string{"--help"}, []string{"LANG=zh_CN.UTF-8"}, 0, "在前台运行", ""},
		{"help, by the flag", []string{"--help", "--lang", "zh"}, nil, 0, "在前台运行", ""},
		{"help, by the flag against the locale", []string{"--lang=en", "--help"}, []string{"LC_ALL=zh_CN.UTF-8"}, 0, "Serve in the foreground.", ""},
		{"an unknown command", []string{"runn"}, nil, 2, "", `did you mean "run"`},
		{"an unknown flag", []string{"status", "--chekc"}, nil, 2, "", "unknown flag --chekc"},
		{"an output that is none", []string{"version", "-o", "xml"}, nil, 2, "", "table"},
		{"usage in Chinese", []string{"nope"}, []string{"LC_MESSAGES=zh_CN"}, 2, "", "请运行 pullchain --help"},
		{"a demo that stands still", []string{"demo", "--speed", "0"}, nil, 2, "", "--speed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := run(t.Context(), tt.args, tt.env...)
			if got.code != tt.code || !strings.Contains(got.out, tt.out) || !strings.Contains(got.errors, tt.errors) {
				t.Errorf("exit code %d, want %d\nstdout, want %q:\n%s\nstderr, want %q:\n%s", got.code, tt.code, tt.out, got.out, tt.errors, got.errors)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	got := run(t.Context(), []string{"version"})
	if got.code != 0 || !strings.HasPrefix(got.out, "pullchain ") || !strings.Contains(got.out, "\ngo1.") {
		t.Errorf("exit code %d:\n%s", got.code, got.out)
	}
	got = run(t.Context(), []string{"version", "-o", "json"})
	var v struct {
		Schema                int
		Version, Go, Platform string
	}
	if err := json.Unmarshal([]byte(got.out), &v); err != nil {
		t.Fatalf("%v:\n%s", err, got.out)
	}
	if v.Schema != 1 || v.Version == "" || !strings.HasPrefix(v.Go, "go1.") || !strings.Contains(v.Platform, "/") {
		t.Errorf("got %+v", v)
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	good := file(t, "good.toml", "[[registry]]\nname = \"quay.io\"\n[[registry.upstream]]\nname = \"quay\"\nurl = \"https://quay.io\"\n")
	bad := file(t, "bad.toml", "[server]\nlisten = \"127.0.0.1:5151\"\nlisten_on = 1\n\n[[registry]]\nname = \"quay.io\"\n")
	warned := file(t, "warned.toml", "[egress.spare]\nurl = \"socks5://127.0.0.1:1\"\n")
	tests := []struct {
		name        string
		args        []string
		code        int
		out, errors string
	}{
		{"good", []string{"config", "validate", "-c", good}, 0, "good.toml: ok (1 registry, 1 upstream)", ""},
		{"good, as an argument", []string{"config", "validate", good}, 0, "good.toml: ok", ""},
		{"good, in Chinese", []string{"config", "validate", good, "--lang", "zh"}, 0, "good.toml：可用", ""},
		{"with a warning", []string{"config", "validate", warned}, 0, "ok (9 registries", "warning: "},
		{"bad", []string{"config", "validate", bad}, 3, "", "bad.toml:3:1: server: unknown key \"listen_on\""},
		{"bad, the second mistake too", []string{"config", "validate", bad}, 3, "", "has no upstream"},
		{"not there", []string{"config", "validate", good + ".no"}, 3, "", "good.toml.no: no such file"},
		{"bad, shown", []string{"config", "show", "-c", bad}, 3, "", "bad.toml:3:1:"},
		{"bad, run", []string{"run", "-c", bad}, 3, "", "bad.toml:3:1:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := run(t.Context(), tt.args)
			if got.code != tt.code || !strings.Contains(got.out, tt.out) || !strings.Contains(got.errors, tt.errors) {
				t.Errorf("exit code %d, want %d\nstdout, want %q:\n%s\nstderr, want %q:\n%s", got.code, tt.code, tt.out, got.out, tt.errors, got.errors)
			}
		})
	}
}

// config init writes a file that can be used at once, and none over another.
func TestConfigInit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mine.toml")
	if got := run(t.Context(), []string{"config", "init", path}); got.code != 0 || !strings.Contains(got.out, "pullchain config validate "+path) {
		t.Errorf("exit code %d: %s%s", got.code, got.out, got.errors)
	}
	if got := run(t.Context(), []string{"config", "validate", path}); got.code != 0 || !strings.Contains(got.out, "ok (9 registries") || got.errors != "" {
		t.Errorf("exit code %d: %s%s", got.code, got.out, got.errors)
	}
	if err := os.WriteFile(path, []byte("# mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := run(t.Context(), []string{"config", "init", path})
	if text, _ := os.ReadFile(path); got.code != 1 || string(text) != "# mine" || !strings.Contains(got.errors, "is there already") {
		t.Errorf("exit code %d: %s, and the file has %q", got.code, got.errors, text)
	}
	if got := run(t.Context(), []string{"config", "init", "-"}); got.code != 0 || got.out != string(config.Template) {
		t.Errorf("exit code %d: %.200s%s", got.code, got.out, got.errors)
	}
}

func TestConfigValidateJSON(t *testing.T) {
	t.Parallel()
	bad := file(t, "bad.toml", "[server]\nlisten_on = 1\n")
	got := run(t.Context(), []string{"config", "validate", bad, "-o", "json"})
	var v struct {
		OK     bool
		File   string
		Errors []struct {
			File           string
			Line, Column   int
			Where, Message string
		}
	}
	if err := json.Unmarshal([]byte(got.out), &v); err != nil {
		t.Fatalf("%v:\n%s", err, got.out)
	}
	if got.code != 3 || got.errors != "" || v.OK || v.File != bad || len(v.Errors) != 1 || v.Errors[0].Line != 2 || v.Errors[0].Column != 1 || v.Errors[0].Message == "" {
		t.Errorf("exit code %d, stderr %q, got %+v", got.code, got.errors, v)
	}
}

func TestConfigShow(t *testing.T) {
	t.Parallel()
	secret := file(t, "secret", "hunter2\n")
	path := file(t, "pullchain.toml", "[[registry]]\nname = \"quay.io\"\n[[registry.upstream]]\nname = \"quay\"\nurl = \"https://quay.io\"\nusername = \"me\"\npassword_file = \""+secret+"\"\ni_know = true\n[registry.upstream.headers]\nX-Key = \"hunter2\"\n")
	plain := run(t.Context(), []string{"config", "show", "-c", path})
	effective := run(t.Context(), []string{"config", "show", "--effective", "-c", path})
	if plain.code != 0 || !strings.HasPrefix(plain.out, "# from "+path) || !strings.Contains(plain.out, `name = "quay.io"`) {
		t.Errorf("exit code %d:\n%s\n%s", plain.code, plain.out, plain.errors)
	}
	if strings.Contains(plain.out, "stall") || !strings.Contains(effective.out, `stall = "10s"`) {
		t.Errorf("--effective does not make the difference:\n%s", effective.out)
	}
	if strings.Contains(plain.out+effective.out, "hunter2") {
		t.Error("it shows secrets")
	}
	if again := run(t.Context(), []string{"config", "validate", file(t, "again.toml", plain.out)}); again.code != 0 {
		t.Errorf("what it shows cannot be read again:\n%s", again.errors)
	}
}

// Without a file there is the embedded configuration, wherever a test runs.
func TestConfigOfEnvironment(t *testing.T) {
	t.Parallel()
	path := file(t, "pullchain.toml", "[server]\nlisten = \"127.0.0.1:7777\"\n")
	got := run(t.Context(), []string{"config", "show"}, "PULLCHAIN_CONFIG="+path)
	if got.code != 0 || !strings.Contains(got.out, "7777") {
		t.Errorf("$PULLCHAIN_CONFIG: exit code %d:\n%s%s", got.code, got.out, got.errors)
	}
	got = run(t.Context(), []string{"config", "show", "-c", file(t, "other.toml", "")}, "PULLCHAIN_CONFIG="+path)
	if got.code != 0 || strings.Contains(got.out, "7777") {
		t.Errorf("--config beside $PULLCHAIN_CONFIG: exit code %d:\n%s%s", got.code, got.out, got.errors)
	}
}
