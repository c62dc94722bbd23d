package cli

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/pullchain/pullchain/internal/cache"
)

// ANSI colours. Every colour stands on a word that says the same.
const (
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

// paint colours text for standard output.
func (a *app) paint(color, text string) string {
	if !a.color(a.Stdout) {
		return text
	}
	return color + text + plain
}

// writeStat writes how a cache stands for people. where says whose it is.
func (a *app) writeStat(s cache.Snapshot, where string) {
	a.say("cache.dir", "dir", s.Dir, "where", where)
	a.say("cache.content", "bytes", size(s.Bytes), "limit", size(s.Limit), "objects", s.Objects, "pinned", size(s.PinnedBytes))
	if s.Partial > 0 {
		a.say("cache.partial", "blobs", s.Partial, "bytes", size(s.PartialBytes))
	}
	a.say("cache.free", "free", size(s.Free))
	if s.Oldest != nil {
		a.say("cache.oldest", "at", moment(*s.Oldest))
	}
	a.say("cache.tags", "tags", s.Tags)
	if answered := s.Hits + s.Misses; answered > 0 { // by this process
		a.say("cache.hits", "percent", fmt.Sprintf("%.0f", 100*s.HitRatio), "answers", answered, "saved", size(s.SavedBytes),
			"coalesced", s.Coalesced, "stale", s.StaleServed)
		a.say("cache.past", "evictions", s.Evictions, "corrupt", s.VerifyFailures)
	}
	if !s.Scanned {
		a.say("cache.scanning")
	}
	if s.Trouble != "" {
		fmt.Fprintln(a.Stdout, a.paint(yellow, a.book.Say("cache.trouble", "why", printable(s.Trouble))))
	}
}

// maxNames is how many images stand in the line of an object.
const maxNames = 2

// writeEntries writes what a cache has as a table: some of total objects.
func (a *app) writeEntries(entries []cache.Entry, total int) {
	b := a.book
	t := table{right: map[int]bool{2: true}, rows: [][]string{{
		b.Say("cache.col_digest"), b.Say("cache.col_kind"), b.Say("cache.col_size"), b.Say("cache.col_used"),
		b.Say("cache.col_access"), b.Say("cache.col_pin"), b.Say("cache.col_images"),
	}}}
	var sum int64
	for _, e := range entries {
		sum += e.Size
		access, pin := b.Say("cache.private"), ""
		if e.Public {
			access = b.Say("cache.public")
		}
		if e.Pinned {
			pin = b.Say("cache.pin")
		}
		names := e.Images[:min(len(e.Images), maxNames)]
		text := strings.Join(names, " ")
		if more := len(e.Images) - len(names); more > 0 {
			text += fmt.Sprintf(" +%d", more)
		}
		t.rows = append(t.rows, []string{short(e.Digest), b.Say("cache.kind." + e.Kind), size(e.Size), moment(e.Used), access, pin, text})
	}
	fmt.Fprint(a.Stdout, t)
	if total > len(entries) {
		a.say("cache.some", "objects", len(entries), "total", total, "size", size(sum))
		return
	}
	a.say("cache.sum", "objects", total, "size", size(sum))
}

// moment writes a time for people, in the zone of this machine.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04")
}

// A table is rows of cells, each column as wide as its widest cell. It is the
// text/tabwriter for texts with Chinese characters, which take two columns.
type table struct {
	rows  [][]string
	right map[int]bool // columns that are aligned to the right
}

// String returns the table with a line for each row.
func (t table) String() string {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], columns(printable(cell)))
		}
	}
	var out strings.Builder
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			cell = printable(cell)
			pad := strings.Repeat(" ", widths[i]-columns(cell))
			if t.right[i] {
				line.WriteString(pad + cell + "  ")
			} else {
				line.WriteString(cell + pad + "  ")
			}
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return out.String()
}

// columns returns how many columns of a terminal s takes.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += columnsOf(r)
	}
	return n
}

// columnsOf is 2 for East Asian Wide and Fullwidth, as far as our catalogue has
// them (Unicode, UAX #11).
func columnsOf(r rune) int {
	if unicode.Is(unicode.Han, r) || r >= 0x3000 && r <= 0x303F || r >= 0xFF01 && r <= 0xFF60 {
		return 2
	}
	return 1
}

// clip cuts s to so many columns.
func clip(s string, limit int) string {
	n := 0
	for i, r := range s {
		if n += columnsOf(r); n > limit {
			return s[:i]
		}
	}
	return s
}

// printable takes out of s whatever could steer a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
