package admin

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	"github.com/pullchain/pullchain/balancer"
)

// ANSI colours. Every colour stands beside a word that says the same.
const (
	reset  = "\x1b[0m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	faint  = "\x1b[2m"
)

var levelColors = map[string]string{LevelOK: green, LevelDegraded: yellow, LevelOutage: red}

var stateColors = map[string]string{
	balancer.StateServing: green, balancer.StateDegraded: yellow, balancer.StateCooling: yellow, balancer.StateHalfOpen: yellow,
	balancer.StateOpen: red, balancer.StateDown: red, balancer.StateQuarantined: red,
	balancer.StateDrained: faint, balancer.StateDisabled: faint, balancer.StateUnknown: faint,
}

// A cell is one field of a grid.
type cell struct {
	text  string
	color string // ANSI; empty is none
	right bool   // aligned to the right
}

// A grid is rows of cells, each column as wide as its widest cell.
// text/tabwriter cannot do it: it takes colours for text and a Chinese
// character for one column.
type grid struct{ rows [][]cell }

func (g grid) write(t *table) {
	var widths []int
	for _, row := range g.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(plain(c.text)))
		}
	}
	for _, row := range g.rows {
		var b strings.Builder
		for i, c := range row {
			text := plain(c.text)
			pad := strings.Repeat(" ", widths[i]-width(text))
			if c.right {
				b.WriteString(pad + t.paint(c.color, text))
			} else {
				b.WriteString(t.paint(c.color, text) + pad)
			}
			if widths[i] > 0 {
				b.WriteString("  ")
			}
		}
		t.line(b.String())
	}
}

// width returns how many columns of a terminal s takes.
func width(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case unicode.Is(unicode.Mn, r):
		case wide(r):
			n += 2
		default:
			n++
		}
	}
	return n
}

// wide reports whether terminals show r over two columns: East Asian Wide and
// Fullwidth, as far as our own catalogue uses them (Unicode, UAX #11).
func wide(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana) ||
		r >= 0x3000 && r <= 0x303F || r >= 0xFF01 && r <= 0xFF60 || r >= 0xFFE0 && r <= 0xFFE6
}

// plain takes out of s whatever could steer a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// shortImage cuts the digest in an image's name to what people compare.
func shortImage(image string) string {
	name, sum, ok := strings.Cut(image, "@sha256:")
	if !ok || len(sum) < 12 {
		return image
	}
	return name + "@" + sum[:12]
}

func newestFirst(list []balancer.Failover) {
	slices.SortStableFunc(list, func(a, b balancer.Failover) int { return cmp.Compare(b.At.UnixNano(), a.At.UnixNano()) })
}
