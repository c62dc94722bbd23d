package cli

import (
	"io"
	"os"

	"golang.org/x/term"

	"github.com/pullchain/pullchain/internal/terminal"
)

// isTerminal reports whether a person watches w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// color reports whether to write colours to w (no-color.org: NO_COLOR counts
// when it is not empty).
func (a *app) color(w io.Writer) bool {
	return !a.flags.NoColor && a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb" && isTerminal(w)
}

// paint colours text for standard output.
func (a *app) paint(color terminal.Color, text string) string {
	if !a.color(a.Stdout) {
		return text
	}
	return color.Paint(text)
}
