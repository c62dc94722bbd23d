package terminal_test

import (
	"testing"

	"github.com/pullchain/pullchain/internal/terminal"
)

func TestWrap(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ text, want string }{
		"short lines":             {"one\n  two\n", "one\n  two\n"},
		"as long as the terminal": {"12345678901234567890\n", "12345678901234567890\n"},
		"between words":           {"the quick brown fox jumps\n", "the quick brown fox\n    jumps\n"},
		"further in than its line": {
			"  next: see whether it runs and listens\nand\n",
			"  next: see whether\n      it runs and\n      listens\nand\n",
		},
		"no words":         {"123456789012345678901234\n", "12345678901234567890\n    1234\n"},
		"without an end":   {"the quick brown fox jumps", "the quick brown fox\n    jumps"},
		"colours":          {"\x1b[31mthe quick brown fox\x1b[0m!\n", "\x1b[31mthe quick brown fox\x1b[0m!\n"},
		"between two wide": {"docker-hub 返回 429（拉取额度已用尽）\n", "docker-hub 返回 429\n    （拉取额度已用尽\n    ）\n"},
	} {
		if got := terminal.Wrap(tt.text, 20); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	if long := "a line that is not broken at all\n"; terminal.Wrap(long, 0) != long {
		t.Error("a terminal of unknown width")
	}
}
