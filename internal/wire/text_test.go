package wire

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// checkText fails unless s may stand in a log, a terminal, a header and a page.
func checkText(t *testing.T, s string) {
	t.Helper()
	bad := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
	if len(s) > 512 || bad >= 0 || !utf8.ValidString(s) {
		t.Errorf("text %q (%d bytes) is not safe to show", s, len(s))
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"", ""},
		{" \t\n ", ""},
		{"Too Many Requests (HAP429).", "Too Many Requests (HAP429)."},
		{"a\r\n  b\tc ", "a b c"},
		{"say \"hi\" \\ there", "say 'hi' / there"},
		{"\x1b[31mred\x07", "?[31mred?"},
		{"a\u202eb\u200b\ufeff", "a?b??"}, // bidi override, zero width, BOM
		{"bad \xff\xfe utf8", "bad ?? utf8"},
		{"naïve 日本", "naïve 日本"},
		{strings.Repeat("a", 256), strings.Repeat("a", 256)},
		{strings.Repeat("a", 257), strings.Repeat("a", 253) + "…"},
		{strings.Repeat("é", 200), strings.Repeat("é", 126) + "…"},
		{strings.Repeat("ab ", 1<<20), strings.Repeat("ab ", 84) + "a…"},
	}
	for _, tt := range tests {
		got := Clip(tt.in)
		if got != tt.want {
			t.Errorf("Clip(%.40q) = %q, want %q", tt.in, got, tt.want)
		}
		if len(got) > maxText || Clip(got) != got {
			t.Errorf("Clip(%.40q) is %d bytes and becomes %q when clipped again", tt.in, len(got), Clip(got))
		}
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in, mark string
		max      int
		want     string
	}{
		{"short", "...", 5, "short"},
		{"longer", "...", 5, "lo..."},
		{"a word too many", "…", 9, "a word…"},
		{"日本語", "...", 8, "日..."},
		{"longer", "...", 2, "..."}, // a mark at least
		{"longer", "...", -1, "..."},
	} {
		if got := Cut(tt.in, tt.max, tt.mark); got != tt.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", tt.in, tt.max, got, tt.want)
		}
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	if got, want := Quote("a \"b\" \x1b[31m\\"), `"a 'b' ?[31m/"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
