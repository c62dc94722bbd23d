package cli

import (
	"io"
	"log/slog"
	"os"

	"github.com/lmittmann/tint"
	"golang.org/x/term"

	"github.com/pullchain/pullchain/internal/config"
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

// textLog reports whether logs are written for people: always, never, or when a
// terminal is there.
func (a *app) textLog(cfg config.Log) bool {
	return cfg.Format == "text" || cfg.Format != "json" && isTerminal(a.Stderr)
}

// logger returns the log of a daemon, on standard error.
func (a *app) logger(cfg config.Log, level slog.Leveler) *slog.Logger {
	if a.textLog(cfg) {
		return slog.New(tint.NewTextHandler(a.Stderr, &tint.Options{Level: level, NoColor: !a.color(a.Stderr)}))
	}
	return slog.New(slog.NewJSONHandler(a.Stderr, &slog.HandlerOptions{Level: level}))
}
