package cli

import (
	"io"
	"log/slog"

	"github.com/lmittmann/tint"

	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/logsink"
)

// textLog reports whether logs are written for people: always, never, or when a
// terminal is there.
func (a *app) textLog(cfg config.Log) bool {
	return cfg.Format == "text" || cfg.Format != "json" && isTerminal(a.Stderr)
}

// openLog opens the log of a daemon, on standard error. It must be closed, or its
// last lines are lost. A person at a terminal sees every line at once.
func (a *app) openLog(cfg config.Log, level slog.Leveler) *logsink.Sink {
	format := func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}) }
	if a.textLog(cfg) {
		format = func(w io.Writer) slog.Handler {
			return tint.NewTextHandler(w, &tint.Options{Level: level, NoColor: !a.color(a.Stderr)})
		}
	}
	sink := logsink.New(a.Stderr, format)
	// Lines are gathered, which saves a write for each. On a terminal they would
	// come in bursts.
	if isTerminal(a.Stderr) {
		sink.WriteThrough()
	}
	return sink
}
