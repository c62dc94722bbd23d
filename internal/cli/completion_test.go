package cli_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
)

func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for shell, hook := range map[string]string{
		"bash": "complete -o default -o bashdefault -F _pullchain pullchain\n",
		"zsh":  "compdef _pullchain pullchain\n",
		"fish": "complete -c pullchain -f -a '(__pullchain_complete)'\n",
	} {
		got := run(t.Context(), []string{"completion", shell})
		// The program is found by $PATH: the script outlives the place of this binary.
		if got.code != 0 || got.errors != "" || !strings.Contains(got.out, hook) || !strings.Contains(got.out, " pullchain 2>/dev/null)") || strings.Contains(strings.ReplaceAll(got.out, "/dev/null", ""), "/") {
			t.Errorf("%s: exit code %d:\n%s%s", shell, got.code, got.out, got.errors)
		}
	}
	if got := run(t.Context(), []string{"completion", "tcsh"}); got.code != 2 || !strings.Contains(got.errors, `"bash","zsh","fish"`) {
		t.Errorf("a shell that we do not know: exit code %d:\n%s", got.code, got.errors)
	}
}

// complete returns the words that a shell would offer for a line. The library reads the
// line from the environment of the process, so that these tests are not parallel.
func complete(t *testing.T, line string) string {
	t.Helper()
	t.Setenv("COMP_LINE", line)
	got := run(t.Context(), nil, "COMP_LINE="+line, "PULLCHAIN_CONFIG="+file(t, "pullchain.toml", "[admin]\nlisten = \"127.0.0.1:1\"\n"))
	if got.code != 0 || got.errors != "" {
		t.Errorf("%q: exit code %d, and in the middle of the line: %s", line, got.code, got.errors)
	}
	return strings.Join(strings.Fields(got.out), " ")
}

func TestCompletion(t *testing.T) {
	two := chain("ghcr.io", balancer.StateServing, "")
	two.Lanes = append(two.Lanes, balancer.LaneSnapshot{Upstream: "spare", Order: 2, State: balancer.StateStandby})
	strange := chain("$(reboot)", balancer.StateServing, "")
	addr := adminOf(t, admin.Config{}, two, chain("docker.io", balancer.StateServing, ""), strange)
	locked := adminOf(t, admin.Config{Token: "s3cret"}, two)
	config := file(t, "theirs.toml", "[admin]\nlisten = \""+addr+"\"\n")
	html := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	t.Cleanup(html.Close)
	for _, tt := range []struct{ name, line, want string }{
		{"commands", "pullchain ", "cache completion config demo events explain notify pulls run status upstream version why"},
		{"the beginning of one", "pullchain st", "status"},
		{"commands of a command", "pullchain upstream d", "disable drain"},
		{"behind a flag", "pullchain --addr x upstream d", "disable drain"},
		{"flags, those of every command too", "pullchain status --c", "--check --config"},
		{"the values of a flag", "pullchain status -o ", "json jsonl table"},
		{"the values of a flag, with =", "pullchain status --output=js", "json jsonl"},
		{"shells", "pullchain completion ", "bash fish zsh"},
		{"registries", "pullchain status --addr " + addr + " ", "docker.io ghcr.io"},
		{"registries, by the configuration", "pullchain status -c " + config + " ", "docker.io ghcr.io"},
		{"registries for a flag", "pullchain events --addr=" + addr + " -f -r d", "docker.io"},
		{"upstreams", "pullchain --addr " + addr + " upstream drain ghcr.io/", "ghcr.io/spare ghcr.io/up-ghcr.io"},
		{"both", "pullchain --addr " + addr + " upstream probe g", "ghcr.io ghcr.io/spare ghcr.io/up-ghcr.io"},
		{"nothing behind the last argument", "pullchain --addr " + addr + " upstream drain ghcr.io/spare ", ""},
		{"no daemon", "pullchain upstream drain ", ""},
		{"one that wants its token", "pullchain --addr " + locked + " status ", ""},
		{"a token that is not there", "pullchain --addr " + locked + " --token-file no status ", ""},
		{"no daemon of ours", "pullchain --addr " + html.URL + " status ", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := complete(t, tt.line); got != tt.want {
				t.Errorf("%q goes on with %q, want %q", tt.line, got, tt.want)
			}
		})
	}
}

// A daemon that hangs must not hang the shell: the words come without its names.
func TestCompletionDoesNotWait(t *testing.T) {
	gone := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(gone)
	}))
	t.Cleanup(hangs.Close)
	if got := complete(t, "pullchain --addr "+hangs.URL+" status "); got != "" {
		t.Errorf("it goes on with %q", got)
	}
	<-gone
}
