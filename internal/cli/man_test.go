package cli_test

import (
	"slices"
	"strings"
	"testing"
)

// TestManualPage holds the page to the words that the shell completes: both must know every
// command.
func TestManualPage(t *testing.T) {
	for lang, heading := range map[string]string{"en": "EXIT STATUS", "zh": "退出码"} {
		got := run(t.Context(), []string{"man", "--lang", lang})
		if got.code != 0 || got.errors != "" || !strings.HasPrefix(got.out, ".TH PULLCHAIN 1 \"\" \"pullchain\"\n.SH NAME\npullchain - ") {
			t.Fatalf("%s: exit code %d:\n%s%s", lang, got.code, got.out, got.errors)
		}
		page := strings.ReplaceAll(got.out, `\&`, "")
		for _, command := range slices.Concat(commands(t, ""), commands(t, "cache "), commands(t, "upstream "), commands(t, "config "), commands(t, "notify ")) {
			if !strings.Contains(page, `\fB`+command) {
				t.Errorf("%s: nothing of %s", lang, command)
			}
		}
		for _, code := range strings.Fields("0 1 2 3 4 5 6 8 9 130") {
			if _, codes, _ := strings.Cut(page, ".SH "+heading+"\n"); !strings.Contains(codes, `\fB`+code+`\fP`) {
				t.Errorf("%s: nothing of exit code %s in\n%s", lang, code, codes)
			}
		}
		for _, word := range []string{"--token-file", "--quarantine", "registry/name"} {
			if !strings.Contains(page, word) {
				t.Errorf("%s: nothing of %s", lang, word)
			}
		}
		if strings.Contains(page, "%!") {
			t.Errorf("%s: a text with a percent sign is garbled", lang)
		}
	}
}

// commands returns the commands behind those of a prefix.
func commands(t *testing.T, prefix string) []string {
	t.Helper()
	var out []string
	for _, name := range strings.Fields(complete(t, "pullchain "+prefix)) {
		out = append(out, prefix+name)
	}
	if len(out) == 0 {
		t.Errorf("there are no commands of %q", prefix)
	}
	return out
}
