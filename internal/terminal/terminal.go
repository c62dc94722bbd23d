// Package terminal lays text out for a person at a terminal: columns, cuts and
// colours. What it is given may come over the network, so it lets no control
// character through: an upstream's name must not be able to move the cursor,
// set a title or hide a line.
package terminal

import (
	"strings"
	"unicode"
)

// A Color is an ANSI colour (ECMA-48, SGR); the zero value is none. Colours
// repeat what a word beside them says: a log, a colour-blind reader and a
// terminal without colours lose nothing.
type Color string

// The colours that the program uses.
const (
	Red    Color = "\x1b[31m"
	Green  Color = "\x1b[32m"
	Yellow Color = "\x1b[33m"
	Faint  Color = "\x1b[2m"

	reset = "\x1b[0m"
)

// Paint returns text in the colour. It leaves out the escape codes where there
// is nothing to paint.
func (c Color) Paint(text string) string {
	if c == "" || text == "" {
		return text
	}
	return string(c) + text + reset
}

// Printable replaces in s each character that could steer a terminal by "?".
// Spaces other than U+0020 go too: they are no use in a column.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// width returns how many columns of a terminal s takes.
func width(s string) int {
	n := 0
	for _, r := range s {
		n += columns(r)
	}
	return n
}

// Clip cuts s to at most limit columns.
func Clip(s string, limit int) string {
	n := 0
	for i, r := range s {
		if n += columns(r); n > limit {
			return s[:i]
		}
	}
	return s
}

// columns returns 0 for a mark that stands on the character before it, 2 for
// East Asian Wide and Fullwidth (Unicode, UAX #11), as far as the catalogue uses
// them, and else 1. The whole table of UAX #11 would be a dependency, for
// characters that no text here has.
func columns(r rune) int {
	switch {
	case unicode.Is(unicode.Mn, r):
		return 0
	case unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana),
		r >= 0x3000 && r <= 0x303F, r >= 0xFF01 && r <= 0xFF60, r >= 0xFFE0 && r <= 0xFFE6:
		return 2
	}
	return 1
}
