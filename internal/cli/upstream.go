package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/pullchain/pullchain/internal/admin"
)

// upstreamCmd groups what there is to do with an upstream of a running daemon.
type upstreamCmd struct {
	Reset upstreamResetCmd `cmd:"" help:"${help_upstream_reset}"`
}

// upstreamSchema is the version of the JSON of these commands.
const upstreamSchema = 1

// upstreamResetCmd is `upstream reset`.
type upstreamResetCmd struct {
	What string `arg:"" name:"registry/name" help:"${help_upstream_what}"`
}

// Run has the daemon forget what it has learnt of an upstream.
func (c *upstreamResetCmd) Run(ctx context.Context, a *app) error {
	// An upstream's name has no slash in it; what is before it is the registry.
	i := strings.LastIndexByte(c.What, '/')
	if i <= 0 || i == len(c.What)-1 {
		return &exitError{exitUsage, errors.New(a.messages.Text("upstream.form", "what", c.What))}
	}
	p, err := a.adminClient()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	var done admin.UpstreamChanged
	err = p.post(ctx, "/api/v1/upstream:reset", admin.UpstreamRequest{Registry: c.What[:i], Upstream: c.What[i+1:]}, &done)
	said, ok := errors.AsType[*apiError](err)
	switch {
	case ok && said.Code == "unknown_upstream":
		return &exitError{exitUsage, errors.New(a.messages.Text("upstream.unknown", "what", c.What))}
	case ok:
		return said
	case err != nil:
		return a.unreachable(p, err)
	case a.flags.Output == "json":
		return a.json(struct {
			Schema int `json:"schema"`
			admin.UpstreamChanged
		}{upstreamSchema, done})
	}
	a.say("upstream.reset", "what", c.What, "state", a.messages.Text("state."+done.State))
	return nil
}
