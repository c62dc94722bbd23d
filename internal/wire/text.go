package wire

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText is what is kept of a peer's words (docs/faults.md 5: quote remote text, cap 256 B).
const maxText = 256

// Clip makes a peer's words safe to show: at most 256 bytes of printable UTF-8
// on one line, runs of white space folded into one space, and nothing that could
// end a quoted string. Control characters, escape sequences' ESC, and invisible
// format characters (bidirectional overrides) become "?".
func Clip(s string) string {
	const slack = 4 * maxText // white space that folds away, and then no more
	if len(s) > slack {
		s = s[:slack]
	}
	var b strings.Builder
	for word := range strings.FieldsSeq(s) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		for _, r := range word {
			b.WriteRune(safeRune(r))
		}
	}
	return Cut(b.String(), maxText, "…")
}

func safeRune(r rune) rune {
	switch {
	case r == '"':
		return '\''
	case r == '\\':
		return '/'
	case r == utf8.RuneError || !unicode.IsPrint(r):
		return '?'
	}
	return r
}

// Cut shortens s to max bytes at a rune's boundary, with a mark where it did.
func Cut(s string, max int, mark string) string {
	if len(s) <= max {
		return s
	}
	n := max - len(mark)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	if n <= 0 {
		return mark
	}
	return strings.TrimRight(s[:n], " ") + mark
}

// Quote is Clip in double quotes, for a peer's word inside an error of ours.
func Quote(s string) string { return `"` + Clip(s) + `"` }

// quoteShort is Quote for a message to the very client that sent the word.
func quoteShort(s string) string { return `"` + Cut(Clip(s), 80, "…") + `"` }
