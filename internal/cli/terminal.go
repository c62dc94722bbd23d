package cli

import (
	"io"
	"os"

	"golang.org/x/term"

	"github.com/pullchain/pullchain/internal/terminal"
)

// isTerminal reports whether a person watches w.
func isTerminal(w io.Writer) bool {
	if narrow, ok := w.(*wrappedTerminal); ok {
		w = narrow.file
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// wrapped are the commands whose lines are broken between words where a terminal is too
// narrow for them. Others print what may be copied to a file, or move the cursor.
var wrapped = map[string]bool{"status": true, "why": true, "pulls": true, "explain": true, "events": true, "upstream": true}

// A wrappedTerminal is a terminal whose lines are broken between words. It has no other
// method than Write, past which io.WriteString would go.
type wrappedTerminal struct{ file *os.File }

// wrap returns w, or the terminal that it is with its lines broken between words.
func wrap(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && isTerminal(f) {
		return &wrappedTerminal{f}
	}
	return w
}

// Write writes whole lines. What clears the screen stands alone, and takes no room.
func (t *wrappedTerminal) Write(p []byte) (int, error) {
	width, _, err := term.GetSize(int(t.file.Fd()))
	if err != nil || string(p) == clear {
		return t.file.Write(p)
	}
	if _, err := t.file.WriteString(terminal.Wrap(string(p), width)); err != nil {
		return 0, err
	}
	return len(p), nil
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
