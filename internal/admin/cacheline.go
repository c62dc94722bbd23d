package admin

import (
	"fmt"
	"strings"

	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/messages"
	"github.com/pullchain/pullchain/internal/terminal"
)

// cache writes a line about the cache, and why it keeps nothing if it does not.
func (t *table) cache() {
	c := t.Cache
	if c == nil {
		return
	}
	if c.Limit > 0 { // else it could not be opened
		parts := []string{t.messages.Text("table.cache_size", "size", Fraction(c.Bytes, c.Limit))}
		if c.Hits+c.Misses > 0 {
			parts = append(parts, t.messages.Text("table.cache_hits", "percent", int(100*c.HitRatio)))
		}
		if c.SavedBytes > 0 {
			parts = append(parts, t.messages.Text("table.cache_saved", "size", Amount(c.SavedBytes)))
		}
		t.line(strings.Join(parts, t.messages.Text("summary.comma")))
	}
	if c.Trouble != "" {
		t.line(t.paint(terminal.Yellow, "! "+terminal.Printable(ailment(t.messages, c))))
	}
}

// ailment says what is the matter with a cache that keeps nothing. One without a
// limit was never opened, and gives nothing out either.
func ailment(m *messages.Catalogue, c *cache.Snapshot) string {
	if c.Limit == 0 {
		return m.Text("summary.no_cache", "trouble", c.Trouble)
	}
	return m.Text("summary.cache", "trouble", c.Trouble)
}

// units are powers of two, as the configuration's sizes are.
var units = []string{"B", "KiB", "MiB", "GiB", "TiB"}

// unitOf returns the largest unit that n has one of.
func unitOf(n int64) int {
	unit := 0
	for ; n >= 1<<10 && unit < len(units)-1; n >>= 10 {
		unit++
	}
	return unit
}

// in writes n in a unit, with one digit after the point where that says more.
func in(n int64, unit int) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/float64(int64(1)<<(10*unit))), ".0")
}

// Amount writes a number of bytes as people say it: "9.4 GiB".
func Amount(n int64) string { return in(n, unitOf(n)) + " " + units[unitOf(n)] }

// Fraction writes two numbers of bytes, the unit once if they share it:
// "18.2/50 GiB", "312 KiB/10 GiB".
func Fraction(n, of int64) string {
	if unitOf(n) == unitOf(of) || n == 0 {
		return in(n, unitOf(of)) + "/" + Amount(of)
	}
	return Amount(n) + "/" + Amount(of)
}
