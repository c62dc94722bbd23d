package daemon

import (
	"context"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/regauth"
	"github.com/pullchain/pullchain/upstreams"
)

// tokens returns what gets clients tokens for their own logins, from the registry itself by
// the first path on which its token server answers; nil where logins are not passed on.
func (c *chain) tokens(r registry) func(context.Context, regauth.Login, []string) (regauth.Grant, error) {
	var paths []*upstreams.Upstream
	for _, name := range r.upstreams {
		if p := c.known(pathID{r.name, name}); p != nil && p.cfg.PassesLogin() {
			paths = append(paths, p.upstream)
		}
	}
	if len(paths) == 0 {
		return nil
	}
	return func(ctx context.Context, login regauth.Login, repos []string) (grant regauth.Grant, err error) {
		for _, u := range paths {
			grant, err = u.Token(ctx, login, repos)
			if reason := pullchain.ReasonOf(err); err == nil || reason != pullchain.Unavailable && reason != pullchain.Egress {
				break
			}
		}
		return grant, err
	}
}
