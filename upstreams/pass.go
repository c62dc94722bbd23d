package upstreams

import (
	"context"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/regauth"
)

// passes reports whether req goes to the registry with the client's own token. One for an
// upstream that is not to have it is put as any other client's.
func (u *Upstream) passes(req pullchain.Request) bool {
	return req.Bearer != "" && u.cfg.PassLogin != nil && *u.cfg.PassLogin
}

// Token asks the upstream's token server for a token to read repos by a client's own login.
// See [regauth.Source.Pass].
func (u *Upstream) Token(ctx context.Context, login regauth.Login, repos []string) (regauth.Grant, error) {
	if !u.auth.Learnt() {
		if err := u.Ping(ctx); err != nil {
			return regauth.Grant{}, err
		}
	}
	named := make([]string, len(repos))
	for i, repo := range repos {
		named[i] = u.repo(pullchain.Request{Repo: repo})
	}
	return u.auth.Pass(ctx, login, named)
}
