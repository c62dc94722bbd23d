package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/terminal"
)

// upstreamCmd groups what there is to do with the upstreams of a running daemon.
type upstreamCmd struct {
	List    upstreamListCmd    `cmd:"" help:"${help_upstream_list}"`
	Drain   upstreamDrainCmd   `cmd:"" help:"${help_upstream_drain}"`
	Disable upstreamDisableCmd `cmd:"" help:"${help_upstream_disable}"`
	Enable  upstreamEnableCmd  `cmd:"" help:"${help_upstream_enable}"`
	Pin     upstreamPinCmd     `cmd:"" help:"${help_upstream_pin}"`
	Unpin   upstreamUnpinCmd   `cmd:"" help:"${help_upstream_unpin}"`
	Order   upstreamOrderCmd   `cmd:"" help:"${help_upstream_order}"`
	Probe   upstreamProbeCmd   `cmd:"" help:"${help_upstream_probe}"`
	Reset   upstreamResetCmd   `cmd:"" help:"${help_upstream_reset}"`
}

// upstreamSchema is the version of the JSON of these commands.
const upstreamSchema = 1

// actionTimeout is how long a daemon may take to do something: a probe waits for its
// upstream.
const actionTimeout = 30 * time.Second

// reasonFlag is the flag of every action.
type reasonFlag struct {
	Reason string `placeholder:"TEXT" help:"${help_upstream_reason}"`
}

// lastingFlags are those of what ends by itself.
type lastingFlags struct {
	TTL  time.Duration `name:"ttl" default:"1h" help:"${help_upstream_ttl}"`
	TOML bool          `name:"toml" help:"${help_upstream_toml}"`
	reasonFlag
}

// closingFlags are those of what takes an upstream out.
type closingFlags struct {
	lastingFlags
	Force bool `help:"${help_upstream_force}"`
}

// oneUpstream is the argument that names an upstream.
type oneUpstream struct {
	What string `arg:"" name:"registry/name" names:"upstream" help:"${help_upstream_what}"`
}

// oneRegistry is the argument that names a registry.
type oneRegistry struct {
	Registry string `arg:"" names:"registry" help:"${help_upstream_registry}"`
}

// A task is one action on its way to the daemon.
type task struct {
	what     string // as it was typed
	registry string
	upstream string // empty: the registry
	verb     string // behind the colon of the path
	ask      admin.OperateRequest
	toml     bool // print the configuration that would make it permanent
}

// upstreamDrainCmd is `upstream drain`.
type upstreamDrainCmd struct {
	oneUpstream
	closingFlags
}

// Run sends an upstream nothing new for a while.
func (c *upstreamDrainCmd) Run(ctx context.Context, a *app) error {
	return a.closeUpstream(ctx, c.What, "drain", c.closingFlags)
}

// upstreamDisableCmd is `upstream disable`.
type upstreamDisableCmd struct {
	oneUpstream
	closingFlags
}

// Run sends an upstream nothing for a while, not even probes.
func (c *upstreamDisableCmd) Run(ctx context.Context, a *app) error {
	return a.closeUpstream(ctx, c.What, "disable", c.closingFlags)
}

// closeUpstream takes an upstream out.
func (a *app) closeUpstream(ctx context.Context, what, verb string, f closingFlags) error {
	t := task{what: what, verb: verb, ask: f.request(), toml: f.TOML}
	t.ask.Force = f.Force
	return a.perform(ctx, t, true, func(done admin.Outcome) {
		a.say("upstream."+verb, "what", what, "wait", a.left(done), "in_flight", done.InFlight)
	})
}

// upstreamEnableCmd is `upstream enable`.
type upstreamEnableCmd struct {
	oneUpstream
	reasonFlag
}

// Run ends a drain or a disable.
func (c *upstreamEnableCmd) Run(ctx context.Context, a *app) error {
	t := task{what: c.What, verb: "enable", ask: admin.OperateRequest{Reason: c.Reason}}
	return a.perform(ctx, t, true, func(done admin.Outcome) {
		a.say("upstream.enable", "what", c.What, "state", a.messages.Text("state."+done.After))
	})
}

// upstreamPinCmd is `upstream pin`.
type upstreamPinCmd struct {
	oneUpstream
	lastingFlags
}

// Run has one upstream asked first for a while.
func (c *upstreamPinCmd) Run(ctx context.Context, a *app) error {
	t := task{what: c.What, verb: "pin", ask: c.request(), toml: c.TOML}
	return a.perform(ctx, t, true, func(done admin.Outcome) {
		a.say("upstream.pin", "what", c.What, "wait", a.left(done), "registry", done.Registry)
	})
}

// upstreamUnpinCmd is `upstream unpin`.
type upstreamUnpinCmd struct {
	oneRegistry
	reasonFlag
}

// Run ends a pin.
func (c *upstreamUnpinCmd) Run(ctx context.Context, a *app) error {
	t := task{what: c.Registry, verb: "unpin", ask: admin.OperateRequest{Reason: c.Reason}}
	return a.perform(ctx, t, false, func(admin.Outcome) { a.say("upstream.unpin", "registry", c.Registry) })
}

// upstreamOrderCmd is `upstream order`.
type upstreamOrderCmd struct {
	oneRegistry
	Names []string `arg:"" optional:"" name:"upstream" help:"${help_upstream_names}"`
	lastingFlags
}

// Run has a registry's upstreams asked in another order for a while.
func (c *upstreamOrderCmd) Run(ctx context.Context, a *app) error {
	names := append([]string{}, c.Names...) // none is [] and not null
	t := task{what: c.Registry, verb: "reorder", ask: c.request(), toml: c.TOML}
	t.ask.Order = &names
	return a.perform(ctx, t, false, func(done admin.Outcome) {
		key := "upstream.order"
		if len(names) == 0 {
			key = "upstream.unorder"
		}
		a.say(key, "registry", c.Registry, "order", done.After, "wait", a.left(done))
	})
}

// upstreamProbeCmd is `upstream probe`.
type upstreamProbeCmd struct {
	What string `arg:"" name:"registry[/name]" names:"registry upstream" help:"${help_upstream_probed}"`
	reasonFlag
}

// Run probes an upstream, or all of a registry, and fails if one of the probes does.
func (c *upstreamProbeCmd) Run(ctx context.Context, a *app) error {
	failed := false
	t := task{what: c.What, verb: "probe", ask: admin.OperateRequest{Reason: c.Reason}}
	err := a.perform(ctx, t, strings.Contains(c.What, "/"), func(done admin.Outcome) {
		for _, p := range done.Probes {
			if p.OK() {
				a.say("upstream.probe", "what", done.Registry+"/"+p.Upstream, "ms", fmt.Sprintf("%.0f", p.TookMS))
				continue
			}
			failed = true
			a.say("upstream.probe_failed", "what", done.Registry+"/"+p.Upstream, "error", terminal.Printable(p.Error))
		}
	})
	if err == nil && failed {
		return &exitError{code: exitFailed}
	}
	return err
}

// upstreamResetCmd is `upstream reset`.
type upstreamResetCmd struct {
	oneUpstream
	Breaker    bool `xor:"part" help:"${help_upstream_breaker}"`
	Cooldown   bool `xor:"part" help:"${help_upstream_cooldown}"`
	Quarantine bool `xor:"part" help:"${help_upstream_quarantine}"`
	reasonFlag
}

// Run has the daemon forget what it has learnt of an upstream, or a part of it.
func (c *upstreamResetCmd) Run(ctx context.Context, a *app) error {
	t := task{what: c.What, verb: "reset", ask: admin.OperateRequest{Reason: c.Reason}}
	key := "upstream.reset"
	switch {
	case c.Breaker:
		t.verb, key = "reset-breaker", "upstream.reset_breaker"
	case c.Cooldown:
		t.verb, key = "clear-cooldown", "upstream.clear_cooldown"
	case c.Quarantine:
		t.verb, key = "lift-quarantine", "upstream.lift_quarantine"
	}
	return a.perform(ctx, t, true, func(done admin.Outcome) {
		a.say(key, "what", c.What, "state", a.messages.Text("state."+done.After))
	})
}

// request is what the flags ask for.
func (f lastingFlags) request() admin.OperateRequest {
	s := int64(f.TTL / time.Second)
	return admin.OperateRequest{TTLS: &s, Reason: f.Reason}
}

// left is how long what was done lasts, for people.
func (a *app) left(done admin.Outcome) string {
	if done.ExpiresAt == nil {
		return ""
	}
	return admin.Wait(a.messages, time.Until(*done.ExpiresAt))
}

// path returns where t is posted to. ofUpstream says that it is about one, whose name is in
// what, behind the last slash: in front of it is the registry's.
func (t *task) path(ofUpstream bool) (string, bool) {
	t.registry = t.what
	if ofUpstream {
		i := strings.LastIndexByte(t.what, '/')
		if i <= 0 || i == len(t.what)-1 {
			return "", false
		}
		t.registry, t.upstream = t.what[:i], t.what[i+1:]
	}
	path := "/api/v1/registries/" + url.PathEscape(t.registry)
	switch {
	case t.verb == "pin": // it is about the registry
		t.ask.Upstream = t.upstream
	case ofUpstream:
		path += "/upstreams/" + url.PathEscape(t.upstream)
	}
	return path + ":" + t.verb, true
}

// perform has the daemon do t, and says what it has done: by say, or as JSON.
func (a *app) perform(ctx context.Context, t task, ofUpstream bool, say func(admin.Outcome)) error {
	path, ok := t.path(ofUpstream)
	if !ok {
		return &exitError{exitUsage, errors.New(a.messages.Text("upstream.form", "what", t.what))}
	}
	p, err := a.adminClient()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, actionTimeout)
	defer cancel()
	var done admin.Outcome
	if err := p.post(ctx, path, t.ask, &done); err != nil {
		return a.notDone(p, t, err)
	}
	if a.flags.Output == "json" {
		return a.json(struct {
			Schema int    `json:"schema"`
			State  string `json:"state"` // as after; the word of earlier versions
			admin.Outcome
		}{upstreamSchema, done.After, done})
	}
	say(done)
	if done.ExpiresAt != nil && !done.Kept {
		a.say("upstream.not_kept")
	}
	if t.toml && done.TOML != "" {
		fmt.Fprintf(a.Stdout, "\n# %s\n%s", a.messages.Text("upstream.toml"), done.TOML)
	}
	return nil
}

// notDone says why t was not done. A daemon of an earlier version knows none of these
// paths.
func (a *app) notDone(p *adminClient, t task, err error) error {
	said, ok := errors.AsType[*apiError](err)
	if !ok {
		return a.unreachable(p, err)
	}
	switch said.Code {
	case "unknown_upstream":
		return &exitError{exitUsage, errors.New(a.messages.Text("upstream.unknown", "what", t.what))}
	case "unknown_registry":
		return &exitError{exitUsage, errors.New(a.messages.Text("upstream.unknown_registry", "registry", t.registry))}
	case "would_leave_none":
		return &exitError{exitRefused, errors.New(a.messages.Text("upstream.leaves_none", "registry", t.registry))}
	case "too_soon":
		return errors.New(a.messages.Text("upstream.too_soon", "what", t.what))
	}
	if said.Status == http.StatusBadRequest {
		return &exitError{exitUsage, said}
	}
	return said
}
