package dashboard

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/history"
)

// A bar is the past of an upstream or of a registry, a column for each stretch of time.
// How high a column is says the same as its colour.
type bar struct {
	Window string // "1h"
	Label  string // all of it as a sentence
	Width  int
	Runs   []run  // of a bar without texts: one shape for each level
	Cells  []cell // of one with a text for each column
	From   *moment
}

// A run are the columns of one level, as the path of an SVG.
type run struct{ Level, Path string }

// A cell is one column.
type cell struct {
	Level  string // ok, warn, bad, off, none
	X, Y   int
	Height int
	Text   string // empty where none is shown
	seen   history.Cell
}

// The levels of a cell, the worst first, and how high each is.
const (
	cellBad  = "bad"  // nothing was served
	cellWarn = "warn" // limited, or by another path
	cellOff  = "off"  // taken out by an operator
	cellOK   = "ok"
	cellNone = "none" // nothing is known
)

var cellHeights = map[string]int{cellBad: 5, cellWarn: 11, cellOff: 3, cellOK: barHeight, cellNone: 1}

const (
	barHeight = 20
	barStep   = 4 // from one column to the next, of which the last is a gap
)

// levelOfCell says what was to be had from a lane in a stretch of time.
func levelOfCell(c history.Cell) string {
	switch c.State {
	case "", balancer.StateUnknown:
		return cellNone
	case balancer.StateDrained, balancer.StateDisabled:
		return cellOff
	case balancer.StateDown, balancer.StateOpen, balancer.StateQuarantined:
		return cellBad
	case balancer.StateServing, balancer.StateStandby:
		failed := c.Failed - min(c.Failed, c.SaidNo) // an upstream that has not what is asked for works
		if 10*failed > c.OK+failed {
			return cellWarn
		}
		return cellOK
	}
	return cellWarn
}

// past returns the cells of an upstream, unknown ones where nothing was seen.
func (d *dashboard) past(v *visit, registry, upstream string, w history.Window) []history.Cell {
	if d.History == nil {
		return nil
	}
	if cells := d.History.Cells(registry, upstream, w, v.now()); cells != nil {
		return cells
	}
	return history.Unknown(w, v.now())
}

// laneBar is the past of an upstream, with a text for each column.
func (d *dashboard) laneBar(v *visit, registry, upstream string, w history.Window) *bar {
	b := d.compactBar(v, registry, upstream, w)
	if b != nil {
		v.spell(b)
	}
	return b
}

// spell gives each column of a bar its text.
func (v *speaker) spell(b *bar) {
	b.Runs = nil
	for i := range b.Cells {
		b.Cells[i].Text = v.cellText(b.Cells[i])
	}
}

// compactBar is the past of an upstream without texts, for a table of many.
func (d *dashboard) compactBar(v *visit, registry, upstream string, w history.Window) *bar {
	past := d.past(v, registry, upstream, w)
	if past == nil {
		return nil
	}
	cells := make([]cell, len(past))
	for i, c := range past {
		cells[i] = newCell(i, levelOfCell(c), c)
	}
	b := v.newBar(w, cells)
	b.Cells, b.Runs = cells, runsOf(cells)
	return b
}

// tableBar is the last hour of an upstream.
func (d *dashboard) tableBar(v *visit, registry, upstream string) *bar {
	b := d.compactBar(v, registry, upstream, history.Hour)
	if b != nil {
		b.Cells = nil
	}
	return b
}

// registryBar is the past of a registry: high where its first path served, half where
// another did, low where none did.
func (d *dashboard) registryBar(v *visit, r *admin.Registry, w history.Window) *bar {
	var cells []cell
	for n := range r.Lanes {
		for i, c := range d.past(v, r.Registry, r.Lanes[n].Upstream, w) {
			level := levelOfCell(c)
			if n == 0 {
				cells = append(cells, newCell(i, level, c))
				continue
			}
			if now := &cells[i]; now.Level != cellOK && (level == cellOK || level == cellWarn && now.Level != cellWarn) {
				before := *now
				*now = newCell(i, cellWarn, c)
				now.seen = before.seen // what was wrong with the first
			}
		}
	}
	if cells == nil {
		return nil
	}
	b := v.newBar(w, cells)
	b.Cells, b.Runs = cells, runsOf(cells)
	return b
}

func newCell(i int, level string, c history.Cell) cell {
	return cell{Level: level, X: i * barStep, Y: barHeight - cellHeights[level], Height: cellHeights[level], seen: c}
}

// cellText says what was seen in a stretch of time.
func (v *speaker) cellText(c cell) string {
	at := c.seen.Start.Local().Format("01-02 15:04")
	if c.Level == cellNone {
		return at + v.messages.Text("dash.cell_nothing")
	}
	text := v.messages.Text("dash.cell", "at", at, "state", v.messages.Text("state."+c.seen.State), "ok", c.seen.OK+c.seen.ProbesOK, "failed", c.seen.Failed+c.seen.ProbesFailed)
	if c.seen.Code != "" {
		text += v.messages.Text("summary.comma") + c.seen.Code
	}
	return text
}

// newBar sums cells up in a sentence for readers that do not see them.
func (v *speaker) newBar(w history.Window, cells []cell) *bar {
	b := &bar{Window: string(w), Width: len(cells)*barStep - 1}
	n := map[string]int{}
	var worst *cell
	for i := range cells {
		c := &cells[i]
		n[c.Level]++
		if (c.Level == cellBad || c.Level == cellWarn) && (worst == nil || c.Height <= worst.Height) {
			worst = c
		}
	}
	if len(cells) > 0 {
		b.From = v.at(cells[0].seen.Start)
	}
	b.Label = v.messages.Text("dash.bar", "window", v.messages.Text("dash.window."+string(w)),
		"ok", n[cellOK], "warn", n[cellWarn], "bad", n[cellBad], "none", n[cellNone]+n[cellOff])
	if worst != nil && worst.seen.State != "" {
		b.Label += " " + v.messages.Text("dash.bar_worst", "worst", v.cellText(*worst))
	}
	return b
}

// runsOf draws cells with one path for each level: a page has many bars.
func runsOf(cells []cell) []run {
	paths := map[string]*strings.Builder{}
	var levels []string
	for _, c := range cells {
		p := paths[c.Level]
		if p == nil {
			p = new(strings.Builder)
			paths[c.Level] = p
			levels = append(levels, c.Level)
		}
		fmt.Fprintf(p, "M%d %dh3v%dh-3z", c.X, c.Y, c.Height)
	}
	slices.Sort(levels)
	var out []run
	for _, l := range levels {
		out = append(out, run{l, paths[l].String()})
	}
	return out
}
