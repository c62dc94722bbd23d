package cli

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/traffic"
)

// whyCmd is `why`.
type whyCmd struct {
	What string `arg:"" optional:"" name:"image|client|id" help:"${help_why_what}"`
}

// A whyAnswer is what `why` found. In JSON all fields are there; Pull and Request are
// null where it is about something else, and both if nothing is known.
type whyAnswer struct {
	Schema   int              `json:"schema"` // the constant admin.Schema
	Asked    string           `json:"asked"`  // empty: the last pull that is worth asking about
	Pull     *traffic.Pull    `json:"pull"`
	Request  *traffic.Request `json:"request"`
	Findings []admin.Finding  `json:"findings"`
}

// Run tells what happened in a real pull, and why.
func (c *whyCmd) Run(ctx context.Context, a *app) error {
	p, err := a.adminClient()
	if err != nil {
		return err
	}
	found, err := c.find(ctx, a, p)
	if err != nil {
		return a.trafficError(p, err)
	}
	if a.flags.Output == "json" {
		return a.json(found)
	}
	if found.Pull == nil && found.Request == nil {
		return c.nothing(ctx, a, p)
	}
	teller{a}.tell(found)
	return nil
}

// find looks for what was asked: a pull or a request by its ID, else the last pull of an
// image or a client, one that failed or was degraded before any other if none is named.
func (c *whyCmd) find(ctx context.Context, a *app, p *adminClient) (*whyAnswer, error) {
	found := &whyAnswer{Schema: admin.Schema, Asked: c.What, Findings: []admin.Finding{}}
	list, err := p.pulls(ctx, url.Values{})
	if err != nil {
		return nil, err
	}
	pulls := append(list.Active, list.Recent...)
	id := c.What
	if picked := c.pick(pulls); picked != nil {
		id = picked.ID
	}
	if id == "" {
		return found, nil
	}
	detail, ok, err := p.pull(ctx, id)
	if err != nil {
		return nil, err
	}
	if ok {
		found.Pull, found.Findings = &detail.Pull, admin.Findings(a.messages, detail.Pull.Requests)
		return found, nil
	}
	one, ok, err := p.request(ctx, id)
	if ok {
		found.Request, found.Findings = &one.Request, admin.Findings(a.messages, []traffic.Request{one.Request})
	}
	return found, err
}

// pick returns the pull that is meant, or nil. The list has the newest first.
func (c *whyCmd) pick(pulls []traffic.Pull) *traffic.Pull {
	slices.SortStableFunc(pulls, func(a, b traffic.Pull) int { return b.Updated.Compare(a.Updated) })
	var last *traffic.Pull
	for i := range pulls {
		p := &pulls[i]
		switch {
		case c.What == "":
			if p.Failures > 0 || p.Degraded > 0 || p.State == traffic.StateFailed {
				return p
			}
			last = cmp.Or(last, p)
		case p.ID == c.What, p.Names(c.What), p.Client == c.What, p.Addr == c.What:
			return p
		}
	}
	return last
}

// nothing says that nothing is known, and how to make it known.
func (c *whyCmd) nothing(ctx context.Context, a *app, p *adminClient) error {
	var s admin.Snapshot
	if err := p.ask(ctx, "/api/v1/snapshot", &s); err != nil {
		return a.trafficError(p, err)
	}
	started := s.Started.Local().Format(time.DateTime)
	if c.What == "" {
		a.say("trace.none", "started", started)
		a.say("trace.none_next", "listen", s.Listen)
		return nil
	}
	a.say("trace.no_match", "what", c.What, "started", started)
	a.say("trace.no_match_next")
	return nil
}

// trafficError says what to do about an answer that could not be had. A daemon that is
// older than these commands has no such page.
func (a *app) trafficError(p *adminClient, err error) error {
	if said, ok := errors.AsType[*apiError](err); ok {
		if said.Code == "not_found" {
			return &exitError{exitFailed, errors.New(a.messages.Text("pulls.remembers_none"))}
		}
		return said
	}
	return a.unreachable(p, err)
}
