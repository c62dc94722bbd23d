package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/terminal"
	"github.com/pullchain/pullchain/internal/traffic"
)

// pullsCmd is `pulls`.
type pullsCmd struct {
	Watch bool `short:"w" help:"${help_pulls_watch}"`
}

// manyPulls is how many pulls that are over are listed.
const manyPulls = 20

// watchPullsEvery is how often pulls -w asks again.
const watchPullsEvery = time.Second

// Run lists the pulls that are active and the last ones before them.
func (c *pullsCmd) Run(ctx context.Context, a *app) error {
	p, err := a.adminClient()
	if err != nil {
		return err
	}
	if c.Watch {
		return c.watch(ctx, a, p)
	}
	list, err := p.pulls(ctx, url.Values{})
	if err != nil {
		return a.trafficError(p, err)
	}
	if a.flags.Output == "json" {
		return a.json(list)
	}
	a.writePulls(list, time.Now())
	return nil
}

// watch lists the active ones again and again until ctx is done. A daemon that does not
// answer may be on its way back.
func (c *pullsCmd) watch(ctx context.Context, a *app, p *adminClient) error {
	tick := time.NewTicker(watchPullsEvery)
	defer tick.Stop()
	for {
		list, err := p.pulls(ctx, url.Values{})
		if isTerminal(a.Stdout) && a.flags.Output != "json" {
			fmt.Fprint(a.Stdout, clear)
		}
		if err != nil {
			err = a.trafficError(p, err)
			exit, _ := errors.AsType[*exitError](err)
			if exit == nil || exit.code != exitUnreachable {
				return err
			}
			a.complain(err)
		} else if a.flags.Output == "json" {
			err = json.NewEncoder(a.Stdout).Encode(list)
		} else {
			a.writePulls(list, time.Now())
			err = nil
		}
		if exit, _ := errors.AsType[*exitError](err); err != nil && exit == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// writePulls writes pulls as a table. Names come from clients, so the grid lets no
// control character through.
func (a *app) writePulls(list admin.PullList, now time.Time) {
	pulls := append(list.Active, list.Recent[:min(len(list.Recent), manyPulls)]...)
	if len(pulls) == 0 {
		a.say("pulls.none")
		return
	}
	m := a.messages
	g := terminal.Grid{{
		{Text: m.Text("pulls.age"), Right: true}, {Text: m.Text("pulls.client")}, {Text: m.Text("pulls.image")}, {Text: m.Text("pulls.platform")}, {Text: m.Text("pulls.state")},
		{Text: m.Text("pulls.layers"), Right: true}, {Text: m.Text("pulls.bytes"), Right: true}, {Text: m.Text("pulls.rate"), Right: true}, {Text: m.Text("pulls.from")}, {Text: m.Text("pulls.id")},
	}}
	for i := range pulls {
		g = append(g, a.pullRow(&pulls[i], now))
	}
	fmt.Fprint(a.Stdout, g)
}

// pullRow is a pull's line.
func (a *app) pullRow(p *traffic.Pull, now time.Time) []terminal.Cell {
	state, layers, bytes, rate := p.State, "-", size(p.Bytes), ""
	if state == traffic.StateDone && p.Degraded > 0 {
		state = "degraded"
	}
	var color terminal.Color
	if a.color(a.Stdout) {
		color = pullColor(state)
	}
	if p.LayersTotal > 0 {
		layers = fmt.Sprintf("%d/%d", p.LayersDone, p.LayersTotal)
	}
	if p.Total > 0 {
		bytes += " / " + size(p.Total)
	}
	if p.RateBPS > 0 {
		rate = size(p.RateBPS) + "/s"
	}
	from := p.Upstreams
	if p.Cache["hit"]+p.Cache["coalesced"]+p.Cache["stale"] > 0 {
		from = append([]string{a.messages.Text("pulls.cache")}, from...)
	}
	word := a.messages.Text("pulls." + state)
	if p.Code != "" && state != traffic.StateDone {
		word += " " + p.Code
	}
	return []terminal.Cell{
		{Text: span(max(0, now.Sub(p.Started))), Right: true}, {Text: strings.TrimSpace(p.Client + " " + p.Addr)}, {Text: shortPull(p)}, {Text: p.Platform}, {Text: word, Color: color},
		{Text: layers, Right: true}, {Text: bytes, Right: true}, {Text: rate, Right: true}, {Text: strings.Join(from, ", ")}, {Text: p.ID},
	}
}

// shortPull is the image of a pull, a digest cut to what people compare.
func shortPull(p *traffic.Pull) string {
	one := *p
	one.Reference = shortRef(one.Reference)
	return one.Image()
}
