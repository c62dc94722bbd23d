//go:build linux

package main

import (
	"fmt"
	"math"
	"strconv"
)

// A row is one line of the table: one measure against one peer.
type row struct {
	measure string
	unit    string    // of both figures
	ours    []float64 // one sample a round
	peer    string    // what it is compared with; "" for a figure that stands alone
	theirs  []float64
	goal    goal
	missing string // why one of the figures is not there
	note    string
}

// figures returns both medians; NaN for one that is missing.
func (r row) figures() (ours, theirs float64) { return median(r.ours), median(r.theirs) }

// ratio is ours over theirs, NaN when there is none.
func (r row) ratio() float64 {
	ours, theirs := r.figures()
	if theirs == 0 {
		return math.NaN()
	}
	return ours / theirs
}

// outcome is "met", "missed", or nothing where there is no goal or no figure.
func (r row) outcome() string {
	// Goals are judged by medians. A single round of a busy machine would else
	// decide.
	value := r.ratio()
	ours, theirs := r.figures()
	switch r.goal.of {
	case own:
		value = ours
	case added:
		value = ours - theirs
	}
	switch {
	case r.goal.of == nothing || math.IsNaN(value):
		return ""
	case r.goal.holds(value):
		return "met"
	}
	return "missed"
}

// A quantity is what a goal is about.
type quantity int

const (
	nothing quantity = iota // no goal: the row is there to be read
	ratio                   // ours over theirs
	own                     // our figure alone, in the row's unit
	added                   // ours minus theirs, in the row's unit
)

// A goal is a limit that docs/architecture.md sets. Its zero value is none.
type goal struct {
	of      quantity
	atLeast bool // else at most
	limit   float64
}

func ratioAtLeast(limit float64) goal { return goal{ratio, true, limit} }
func ratioAtMost(limit float64) goal  { return goal{ratio, false, limit} }
func ownAtMost(limit float64) goal    { return goal{own, false, limit} }

// holds compares as a person reads: a ratio of 1.004 is shown as 1.00x and is
// as good as one.
func (g goal) holds(value float64) bool {
	if g.of == ratio {
		value = math.Round(value*100) / 100
	}
	if g.atLeast {
		return value >= g.limit
	}
	return value <= g.limit
}

// text is the goal as the table shows it; unit is that of the row.
func (g goal) text(unit string) string {
	sign := "<="
	if g.atLeast {
		sign = ">="
	}
	switch g.of {
	case ratio:
		return fmt.Sprintf("%s %.2fx", sign, g.limit)
	case added:
		return sign + " +" + figure(g.limit, unit)
	case own:
		return sign + " " + figure(g.limit, unit)
	}
	return ""
}

// figure writes a value with three significant digits, or all of an integer
// part that is longer, and its unit; "-" for a missing one.
func figure(v float64, unit string) string {
	if math.IsNaN(v) {
		return "-"
	}
	decimals := 0
	for size := math.Abs(v); size < 100 && decimals < 2; size *= 10 {
		decimals++
	}
	if v != 0 && math.Abs(v) < 0.1 {
		decimals = 3
	}
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	if unit == "" {
		return s
	}
	return s + " " + unit
}
