package cli

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// demoCmd is `demo`: the daemon between a simulated registry and its mirrors, on
// this machine alone.
type demoCmd struct {
	Once  bool    `help:"${help_demo_once}"`
	Speed float64 `default:"1" help:"${help_demo_speed}"`
}

// errPullFailed ends a demo in which a user would have noticed.
var errPullFailed = errors.New("a pull of the demo did not come through")

// Run plays the story again and again, each time with fresh servers and a fresh
// daemon on the same addresses, until ctx is done. What it prints is read from
// the answers, the daemon's snapshot and the servers' own books: it reports what
// happened, whatever that is.
func (c *demoCmd) Run(ctx context.Context, a *app) error {
	if c.Speed <= 0 {
		return &exitError{exitUsage, errors.New("--speed must be more than 0")}
	}
	at := addresses{data: "127.0.0.1:0", admin: "127.0.0.1:0"}
	for round := 1; ; round++ {
		w, err := newWorld(at, c.Speed)
		if err != nil {
			return err
		}
		at = w.addresses()
		if round == 1 {
			a.introduce(w)
		}
		failed := w.play(ctx, a)
		if err := w.close(); err != nil {
			return err
		}
		switch {
		case ctx.Err() != nil:
			a.say("demo.stopped")
			return nil
		case failed > 0:
			a.say("demo.failed", "count", failed)
			return errPullFailed
		case c.Once:
			return nil
		}
		a.say("demo.again")
		pause(ctx, w.scaled(5*time.Second))
	}
}

// introduce says what has been started, and where people can look.
func (a *app) introduce(w *world) {
	a.say("demo.intro")
	for i, u := range w.chain() {
		fmt.Fprintf(a.Stdout, "  %d %-14s %s\n", i+1, u.name, a.messages.Text("demo.about."+u.name))
	}
	a.say("demo.look", "admin", w.addresses().admin)
}

// pause waits for d, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
