package upstreams

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pullchain/pullchain/internal/wire"
)

// A Rewrite says how an upstream spells a repository: mirrors flatten names, as
// registry.aliyuncs.com/google_containers has registry.k8s.io's coredns/coredns as
// coredns. From and To are names, or both the beginnings of names, which end with a
// slash; an empty To takes the beginning away.
type Rewrite struct {
	From string `toml:"from"`
	To   string `toml:"to"`
}

// rewritten returns repo as the first rule that fits it spells it.
func (c Config) rewritten(repo string) string {
	for _, r := range c.Rewrite {
		if r.From == repo {
			return r.To
		}
		if rest, ok := strings.CutPrefix(repo, r.From); ok && strings.HasSuffix(r.From, "/") {
			return r.To + rest
		}
	}
	return repo
}

// validate reports a rule that could make no repository's name.
func (r Rewrite) validate() error {
	begins := strings.HasSuffix(r.From, "/")
	if err := wire.CheckRepo(strings.TrimSuffix(r.From, "/")); err != nil {
		return fmt.Errorf("from: %w", err)
	}
	switch {
	case begins && r.To == "":
		return nil
	case begins != strings.HasSuffix(r.To, "/"):
		return errors.New("from and to are two names, or both end with a slash")
	}
	if err := wire.CheckRepo(strings.TrimSuffix(r.To, "/")); err != nil {
		return fmt.Errorf("to: %w", err)
	}
	return nil
}
