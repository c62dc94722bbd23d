package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/notify"
)

// notifyCmd groups what there is to do with webhooks.
type notifyCmd struct {
	Test notifyTestCmd `cmd:"" help:"${help_notify_test}"`
}

// notifyTestCmd is `notify test`. It needs no daemon: it reads the webhooks from the
// configuration, as a daemon would.
type notifyTestCmd struct {
	Name string `arg:"" optional:"" help:"${help_notify_name}"`
}

// notifySchema is the version of the JSON of this command.
const notifySchema = 1

// A trial is how a test message fared.
type trial struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	Sent   bool   `json:"sent"`
	Answer string `json:"answer"` // of the service that took it
	Error  string `json:"error"`
}

// errNotSent ends the command that has said already which webhook failed.
var errNotSent = &exitError{code: exitFailed}

// Run sends a test message by the webhook of that name, or by all.
func (c *notifyTestCmd) Run(ctx context.Context, a *app) error {
	cfg, err := a.loadConfig()
	if err != nil {
		return err
	}
	hooks, err := c.choose(a, cfg)
	if err != nil {
		return err
	}
	from := notify.Sender{Version: thisBuild().Version, Dashboard: cfg.Admin.URL}
	if from.Dashboard == "" {
		from.Dashboard = "http://" + reachable(cfg.Admin.ListenAddr()) + "/"
	}
	var trials []trial
	failed := false
	for _, h := range hooks {
		t := trial{Name: h.Title(), Kind: h.Kind}
		if t.Answer, err = notify.Test(ctx, h, from); err != nil {
			failed, t.Error = true, err.Error()
		}
		t.Sent = err == nil
		if ctx.Err() != nil {
			return ctx.Err()
		}
		trials = append(trials, t)
		a.tellTrial(t)
	}
	if a.flags.Output == "json" {
		err = a.json(struct {
			Schema int     `json:"schema"`
			Trials []trial `json:"webhooks"`
		}{notifySchema, trials})
		if err != nil {
			return err
		}
	}
	if failed {
		return errNotSent
	}
	return nil
}

// tellTrial says for people how a message fared.
func (a *app) tellTrial(t trial) {
	switch {
	case a.flags.Output == "json":
	case t.Sent:
		a.say("notify.sent", "name", t.Name, "kind", t.Kind, "answer", t.Answer)
	default:
		a.say("notify.failed", "name", t.Name, "kind", t.Kind, "error", t.Error)
	}
}

// choose returns the webhooks that are meant.
func (c *notifyTestCmd) choose(a *app, cfg *config.Config) ([]notify.Webhook, error) {
	hooks := cfg.Webhooks()
	var names []string
	for _, h := range hooks {
		names = append(names, h.Title())
	}
	switch i := slices.Index(names, c.Name); {
	case len(hooks) == 0:
		return nil, &exitError{exitUsage, errors.New(a.messages.Text("notify.none"))}
	case c.Name == "":
		return hooks, nil
	case i < 0:
		return nil, &exitError{exitUsage, errors.New(a.messages.Text("notify.unknown", "name", c.Name, "names", strings.Join(names, ", ")))}
	default:
		return hooks[i : i+1], nil
	}
}
