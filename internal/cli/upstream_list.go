package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/terminal"
)

// upstreamListCmd is `upstream list`.
type upstreamListCmd struct {
	Registry string `arg:"" optional:"" names:"registry" help:"${help_status_registry}"`
}

// A listedUpstream is one of the answer of `upstream list -o json`.
type listedUpstream struct {
	Registry string          `json:"registry"`
	Upstream string          `json:"upstream"`
	Order    int             `json:"order"` // as configured, from 1
	State    string          `json:"state"`
	Since    *time.Time      `json:"since"`
	Until    *time.Time      `json:"until"`
	Code     pullchain.Code  `json:"code"`
	InFlight int64           `json:"in_flight"`
	Pinned   bool            `json:"pinned"`
	Override *admin.Override `json:"override"` // that is about this upstream; of a pin too
}

// Run lists the upstreams that an operator can do something to.
func (c *upstreamListCmd) Run(ctx context.Context, a *app) error {
	p, err := a.adminClient()
	if err != nil {
		return err
	}
	s, err := p.snapshot(ctx)
	if err != nil {
		return a.unreachable(p, err)
	}
	if c.Registry != "" && s.Find(c.Registry) == nil {
		return &exitError{exitUsage, errors.New(a.messages.Text("upstream.unknown_registry", "registry", c.Registry))}
	}
	list := []listedUpstream{}
	for _, r := range s.Registries {
		if c.Registry != "" && r.Registry != c.Registry {
			continue
		}
		for _, l := range r.Lanes {
			list = append(list, listedUpstream{
				Registry: r.Registry, Upstream: l.Upstream, Order: l.Order, State: l.State, Since: l.Since, Until: l.Until, Code: l.Code,
				InFlight: l.InFlight, Pinned: r.Pinned == l.Upstream, Override: overrideOf(s, r.Registry, l.Upstream),
			})
		}
	}
	if a.flags.Output == "json" {
		return a.json(struct {
			Schema    int              `json:"schema"`
			Upstreams []listedUpstream `json:"upstreams"`
			Overrides []admin.Override `json:"overrides"` // all of them, those of registries too
		}{upstreamSchema, list, s.Overrides})
	}
	return a.listUpstreams(list, s.Now)
}

// overrideOf returns the override that is about an upstream, or nil.
func overrideOf(s admin.Snapshot, registry, upstream string) *admin.Override {
	for i := range s.Overrides {
		if v := &s.Overrides[i]; v.Registry == registry && v.Upstream == upstream {
			return v
		}
	}
	return nil
}

// listUpstreams writes the list for people.
func (a *app) listUpstreams(list []listedUpstream, now time.Time) error {
	m := a.messages
	g := terminal.Grid{terminal.Row(m.Text("table.registry"), m.Text("table.path"), m.Text("table.upstream"), m.Text("table.state"),
		m.Text("upstream.in_flight"), m.Text("upstream.operator"))}
	last := ""
	for _, l := range list {
		name, by := l.Registry, ""
		if name == last {
			name = ""
		}
		last = l.Registry
		if v := l.Override; v != nil {
			by = strings.TrimSpace(m.Text("upstream.by", "kind", v.Kind, "actor", v.Actor, "wait", admin.Wait(m, v.ExpiresAt.Sub(now))) + " " + v.Reason)
		}
		g = append(g, terminal.Row(name, fmt.Sprint(l.Order), l.Upstream, m.Text("state."+l.State), fmt.Sprint(l.InFlight), by))
	}
	_, err := fmt.Fprint(a.Stdout, g.String())
	return err
}
