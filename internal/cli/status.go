package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
)

// statusCmd is `status`.
type statusCmd struct {
	Registry string `arg:"" optional:"" names:"registry" help:"${help_status_registry}"`
	Watch    bool   `short:"w" help:"${help_status_watch}"`
	Check    bool   `help:"${help_status_check}"`
}

// watchEvery is how often --watch asks again.
const watchEvery = 2 * time.Second

// Run prints how a running daemon is.
func (c *statusCmd) Run(ctx context.Context, a *app) error {
	p, err := a.adminClient()
	if err != nil {
		return err
	}
	if c.Watch {
		return c.watch(ctx, a, p)
	}
	s, err := c.ask(ctx, a, p)
	if err != nil {
		return err
	}
	if err := c.write(a, s); err != nil {
		return err
	}
	if code := checkCode(s); c.Check && code != exitOK {
		return &exitError{code: code}
	}
	return nil
}

// ask returns the snapshot of what the command line asks for.
func (c *statusCmd) ask(ctx context.Context, a *app, p *adminClient) (admin.Snapshot, error) {
	s, err := p.snapshot(ctx)
	if err != nil {
		return s, a.unreachable(p, err)
	}
	if c.Registry == "" {
		return s, nil
	}
	r := s.Find(c.Registry)
	if r == nil {
		var names []string
		for _, r := range s.Registries {
			names = append(names, r.Registry)
		}
		return s, &exitError{exitUsage, errors.New(a.messages.Text("status.no_registry", "name", c.Registry, "names", strings.Join(names, ", ")))}
	}
	s.Registries = []admin.Registry{*r}
	s.Summary = admin.Summarize(s.Chains(), s.Cache, s.Now, s.Warnings...)
	return s, nil
}

// write prints one snapshot, for people or for programs.
func (c *statusCmd) write(a *app, s admin.Snapshot) error {
	if a.flags.Output == "json" {
		if c.Watch { // a line for each, for programs that read lines
			return json.NewEncoder(a.Stdout).Encode(s)
		}
		return a.json(s)
	}
	return admin.WriteTable(a.Stdout, s, admin.TableOptions{Messages: a.messages, Color: a.color(a.Stdout)})
}

// clear moves to the top of a terminal and wipes it.
const clear = "\x1b[H\x1b[2J"

// watch prints again and again until ctx is done. A daemon that does not answer
// may be on its way back, so it is told and asked again.
func (c *statusCmd) watch(ctx context.Context, a *app, p *adminClient) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		s, err := c.ask(ctx, a, p)
		if isTerminal(a.Stdout) && a.flags.Output != "json" {
			fmt.Fprint(a.Stdout, clear)
		}
		exit, _ := errors.AsType[*exitError](err)
		switch {
		case err == nil:
			err = c.write(a, s)
		// Only this error may pass by itself; a registry that is not there will not
		// come by waiting.
		case exit != nil && exit.code == exitUnreachable:
			a.complain(err)
			err = nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// checkCode is what --check says of a snapshot, for cron and monitoring. A registry
// without a path is worse than a degraded one, so it is looked for first.
func checkCode(s admin.Snapshot) int {
	for _, r := range s.Registries {
		if admin.Standing(r.Snapshot) == admin.Unreachable {
			return exitNoPath
		}
	}
	if s.Draining || s.Summary.Level != admin.LevelOK {
		return exitDegraded
	}
	return exitOK
}
