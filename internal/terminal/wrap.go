package terminal

import (
	"strings"
	"unicode/utf8"
)

// maxHang is how far in the parts of a line that is broken begin at most: a column that
// lies far to the right is no margin.
const maxHang = 12

// Wrap breaks the lines of text that take more than limit columns, between words where
// there are some, and has what goes on begin a little further in than its line. Colours
// take no room. A limit of less than 20 breaks nothing.
func Wrap(text string, limit int) string {
	if limit < 20 {
		return text
	}
	var b strings.Builder
	for line := range strings.SplitAfterSeq(text, "\n") {
		wrapLine(&b, line, limit)
	}
	return b.String()
}

func wrapLine(b *strings.Builder, line string, limit int) {
	body, ended := strings.CutSuffix(line, "\n")
	margin := strings.Repeat(" ", min(len(body)-len(strings.TrimLeft(body, " "))+4, maxHang))
	for {
		at, broken := breakAt(body, limit)
		if !broken {
			break
		}
		b.WriteString(strings.TrimRight(body[:at], " ") + "\n")
		body = margin + strings.TrimLeft(body[at:], " ")
	}
	b.WriteString(body)
	if ended {
		b.WriteByte('\n')
	}
}

// breakAt returns where the first part of line ends that fits limit, if all of it does
// not: behind its last space, before or behind a character of two columns, or where no
// more fits.
func breakAt(line string, limit int) (at int, broken bool) {
	columnsSoFar, indent := 0, len(line)-len(strings.TrimLeft(line, " "))
	escape := false
	for i, r := range line {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			wide := columns(r)
			if columnsSoFar+wide > limit {
				if at <= indent || wide == 2 {
					at = i
				}
				return at, true
			}
			if r == ' ' && i >= indent || wide == 2 {
				at = i + utf8.RuneLen(r)
			}
			columnsSoFar += wide
		}
	}
	return len(line), false
}
