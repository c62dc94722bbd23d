package cache

import (
	"slices"
	"strings"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
)

// givers are the logins that have let us have content that is here.
type givers struct {
	public bool     // an anonymous fetch has brought all of its bytes
	holder string   // asks by its own login for what a client's login at the same registry has brought; else empty
	logins []string // that it was fetched with, or that have proved access to it since
}

// A yes is an upstream's word that a repository has content, and may read it.
type yes struct {
	login string // that it took; [fill.Anonymous] for none
	shown bool   // bytes came with it, which are those of the content
}

// count reports whether y lets a repository read the content. Of what took a login a
// header says nothing, unless it is the word of that login: a mirror that says yes to
// everything has not got it, and another registry need not either. An upstream that shows
// the bytes has them, with a login or without one (docs/faults.md F52).
func (g givers) count(y yes) bool {
	switch {
	case g.public, y.shown:
		return true
	case y.login == fill.Anonymous:
		return false
	case g.holder != "" && y.login == g.holder: // the registry's own word, to this client
		return true
	}
	return slices.Contains(g.logins, y.login)
}

// held returns a login of the content's that the chain of r has: its lane is the one
// to ask.
func (g givers) held(r *fill.Registry) (login string, ok bool) {
	if g.holder != "" {
		return g.holder, true
	}
	for _, login := range g.logins {
		if r.Stands(login) {
			return login, true
		}
	}
	return "", false
}

// giversOf returns those of the content of a key: its last proof's comes first. What
// meta says of logins counts besides what is known of content that is here.
func (a *accessProofs) giversOf(r *fill.Registry, key proofKey, meta blobstore.Meta) givers {
	stored := a.manifests.meta(key.digest)
	p := a.last(r, key, stored)
	g := givers{public: stored.Public || p.public}
	add := func(login string) {
		if login != fill.Anonymous && !slices.Contains(g.logins, login) {
			g.logins = append(g.logins, login)
		}
	}
	if p.allowed {
		add(p.login)
	}
	for _, m := range []blobstore.Meta{stored, meta} {
		for repo := range m.Repos {
			add(m.Logins[repo]) // none is kept of a login that is not known
			if pullchain.IsHolder(m.Logins[repo]) && strings.HasPrefix(repo, r.Name+"/") {
				g.holder = key.by.Holder
			}
		}
		for _, login := range m.Logins {
			add(login)
		}
	}
	return g
}
