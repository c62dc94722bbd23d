package cli

import (
	"context"
	"errors"
	"fmt"
)

// demoCmd is `demo`: the daemon between a simulated registry and its mirrors, on
// this machine alone.
type demoCmd struct {
	Once  bool    `xor:"end" help:"${help_demo_once}"`
	Stay  bool    `xor:"end" help:"${help_demo_stay}"`
	Speed float64 `default:"1" help:"${help_demo_speed}"`
}

// errPullFailed ends a demo in which a user would have noticed.
var errPullFailed = errors.New("a pull of the demo did not come through")

// Run plays the story, and then lets the reader throw the faults from the dashboard,
// if there is one: until ctx is done. What it prints is read from the answers, the
// daemon's snapshot and the servers' own books: it reports what happened, whatever
// that is.
func (c *demoCmd) Run(ctx context.Context, a *app) error {
	if c.Speed <= 0 {
		return &exitError{exitUsage, errors.New("--speed must be more than 0")}
	}
	w, err := newWorld(c.Speed)
	if err != nil {
		return err
	}
	a.introduce(w)
	s := w.story(a)
	s.play(ctx)
	if stay := c.Stay || !c.Once && isTerminal(a.Stdout); stay && s.failed == 0 {
		s.stay(ctx)
	}
	if err := w.close(); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		a.say("demo.stopped")
	case s.failed > 0:
		a.say("demo.failed", "count", s.failed)
		return errPullFailed
	}
	return nil
}

// introduce says what has been started, and where people can look.
func (a *app) introduce(w *world) {
	a.say("demo.intro")
	for i, u := range w.chain() {
		fmt.Fprintf(a.Stdout, "  %d %-14s %s\n", i+1, u.name, a.messages.Text("demo.about."+u.name))
	}
	a.say("demo.look", "dashboard", w.dashboard(), "admin", w.daemon.AdminAddr())
}
