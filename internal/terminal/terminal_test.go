package terminal_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/internal/terminal"
)

func TestGrid(t *testing.T) {
	t.Parallel()
	right := terminal.Cell{Text: "9 KiB", Right: true}
	tests := []struct {
		name string
		grid terminal.Grid
		want string
	}{
		{"nothing", nil, ""},
		{"columns", terminal.Grid{terminal.Row("a", "bb"), terminal.Row("ccc", "d")}, "a    bb\nccc  d\n"},
		{"a column without text", terminal.Grid{terminal.Row("a", "", "b"), terminal.Row("c", "", "d")}, "a  b\nc  d\n"},
		{"to the right", terminal.Grid{{{Text: "SIZE", Right: true}, {Text: "x"}}, {right, {Text: "y"}}}, " SIZE  x\n9 KiB  y\n"},
		{"rows of different lengths", terminal.Grid{terminal.Row("a"), terminal.Row("b", "c")}, "a\nb  c\n"},
		{"wide characters", terminal.Grid{terminal.Row("状态", "x"), terminal.Row("abcd", "y")}, "状态  x\nabcd  y\n"},
		{"a colour takes no room", terminal.Grid{{{Text: "ok", Color: terminal.Green}, {Text: "x"}}, terminal.Row("down", "y")}, "\x1b[32mok\x1b[0m    x\ndown  y\n"},
		{"nothing steers the terminal", terminal.Grid{terminal.Row("a\x1b[2J\n", "b")}, "a?[2J?  b\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, tt.grid.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in    string
		limit int
		want  string
	}{
		{"abc", 3, "abc"},
		{"abc", 2, "ab"},
		{"状态", 3, "状"}, // half of a character is none
		{"状态", 4, "状态"},
		{"e\u0301a", 1, "e\u0301"}, // an accent goes with its letter
	} {
		if got := terminal.Clip(tt.in, tt.limit); got != tt.want {
			t.Errorf("Clip(%q, %d) = %q, want %q", tt.in, tt.limit, got, tt.want)
		}
	}
}

func TestPaint(t *testing.T) {
	t.Parallel()
	if got := terminal.Red.Paint("down"); got != "\x1b[31mdown\x1b[0m" {
		t.Errorf("got %q", got)
	}
	for _, got := range []string{terminal.Color("").Paint("down"), terminal.Red.Paint("")} {
		if got != "down" && got != "" {
			t.Errorf("painted %q", got)
		}
	}
}
