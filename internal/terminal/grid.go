package terminal

import "strings"

// A Grid is rows of cells; each column is as wide as its widest cell.
// text/tabwriter cannot replace it: that counts the bytes of a colour as text,
// and a Chinese character as one column.
type Grid [][]Cell

// A Cell is one field of a Grid.
type Cell struct {
	Text  string
	Color Color
	Right bool // aligned to the right, as numbers are
}

// Row makes a row of cells without colours.
func Row(texts ...string) []Cell {
	row := make([]Cell, len(texts))
	for i, text := range texts {
		row[i].Text = text
	}
	return row
}

// gap stands between two columns.
const gap = "  "

// String returns the grid, a line for each row, with two spaces between columns
// and none at the end of a line. A column without any text takes no room.
func (g Grid) String() string {
	widths := g.widths()
	var out strings.Builder
	for _, row := range g {
		var line strings.Builder
		for i, c := range row {
			if widths[i] == 0 {
				continue
			}
			text := Printable(c.Text)
			pad := strings.Repeat(" ", widths[i]-width(text))
			text = c.Color.Paint(text)
			if c.Right {
				line.WriteString(pad + text + gap)
			} else {
				line.WriteString(text + pad + gap)
			}
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return out.String()
}

// widths measures the columns. Rows may be of different lengths.
func (g Grid) widths() []int {
	var widths []int
	for _, row := range g {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(Printable(c.Text)))
		}
	}
	return widths
}
