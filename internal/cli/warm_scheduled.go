package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/terminal"
	"github.com/pullchain/pullchain/internal/warm"
)

// pollWarmth is how often a daemon is asked whether its run has ended.
const pollWarmth = 500 * time.Millisecond

// runScheduled has the daemon fetch what its [[warm]] tables name, waits for that, and
// says how it went. With --dry-run it only says how they stand.
func (c *warmCmd) runScheduled(ctx context.Context, a *app) error {
	if len(c.Images)+len(c.File) > 0 || c.Mirror != "" || c.Platform != "" {
		return &exitError{exitUsage, errors.New(a.messages.Text("warm.only_scheduled"))}
	}
	p, err := a.adminClient()
	if err != nil {
		return err
	}
	method, path := http.MethodPost, "/api/v1/warm:run"
	if c.DryRun {
		method, path = http.MethodGet, "/api/v1/warm"
	}
	s, err := askWarmth(ctx, a, p, method, path)
	if err != nil {
		return err
	}
	if len(s.Plans) == 0 {
		return &exitError{exitFailed, errors.New(a.messages.Text("warm.no_schedule"))}
	}
	if !c.DryRun {
		if s, err = waitForWarmth(ctx, a, p, s); err != nil {
			return err
		}
	}
	if a.flags.Output == "json" {
		err = a.json(s)
	} else {
		writeWarmth(a, s)
	}
	if err == nil && !c.DryRun && !warmthOK(s) {
		err = &exitError{code: exitFailed}
	}
	return err
}

// askWarmth asks for the schedule, or has it run.
func askWarmth(ctx context.Context, a *app, p *adminClient, method, path string) (s admin.Warmth, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	var body any
	if method == http.MethodPost {
		body = struct{}{}
	}
	err = p.call(ctx, method, path, body, &s)
	if said, ok := errors.AsType[*apiError](err); ok {
		return s, said
	}
	if err != nil {
		err = a.unreachable(p, err)
	}
	return s, err
}

// waitForWarmth returns how all tables stand when each has run since began was asked for. One
// that was running then may have begun before, so it has to end twice.
func waitForWarmth(ctx context.Context, a *app, p *adminClient, began admin.Warmth) (admin.Warmth, error) {
	tick := time.NewTicker(pollWarmth)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return began, ctx.Err()
		}
		s, err := askWarmth(ctx, a, p, http.MethodGet, "/api/v1/warm")
		if err != nil || haveRun(began.Plans, s.Plans) {
			return s, err
		}
	}
}

// haveRun reports whether each plan has run since. A reload may have made others of them.
func haveRun(before, now []warm.Plan) bool {
	if len(before) != len(now) {
		return true
	}
	for i := range before {
		target := before[i].Runs + 1
		if before[i].Running {
			target++
		}
		if now[i].Runs < target && now[i].Runs >= before[i].Runs {
			return false
		}
	}
	return true
}

// warmthOK reports whether the last run of each table went well.
func warmthOK(s admin.Warmth) bool {
	for _, p := range s.Plans {
		if p.Last != nil && !p.Last.OK {
			return false
		}
	}
	return true
}

// writeWarmth writes the schedule for people.
func writeWarmth(a *app, s admin.Warmth) {
	board := &board{messages: a.messages}
	for _, p := range s.Plans {
		every := admin.Wait(a.messages, time.Duration(p.EveryS)*time.Second)
		if p.Running || p.Next == nil {
			a.say("warm.plan_running", "every", every, "images", len(p.Images))
		} else {
			a.say("warm.plan", "every", every, "images", len(p.Images), "at", moment(*p.Next))
		}
		if p.Last == nil {
			a.say("warm.plan_never")
			for _, image := range p.Images {
				indented(a, image)
			}
			continue
		}
		took := admin.Wait(a.messages, time.Duration(p.Last.TookS*float64(time.Second)))
		a.say("warm.plan_last", "at", moment(p.Last.At), "took", took)
		for _, one := range p.Last.Images {
			if one.Skipped != "" {
				indented(a, a.messages.Text("held."+one.Skipped, "image", one.Image))
				continue
			}
			if one.Error != "" {
				one.Err = errors.New(one.Error)
			}
			indented(a, board.sentence(one))
		}
	}
}

// indented writes a line that the daemon has a part in.
func indented(a *app, text string) { fmt.Fprintln(a.Stdout, "    "+terminal.Printable(text)) }
