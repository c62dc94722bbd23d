package config

import (
	"slices"
	"strings"
)

// listeners checks the [[listener]] tables: what each says, that its registry is one
// that is served, and that no two listen at one address.
func (c *checker) listeners(at place) {
	taken := map[string]string{c.cfg.Server.Listen: "[server]", c.cfg.Admin.Listen: "[admin]"}
	for i, l := range c.cfg.Listeners {
		here := at.item(i, l.Registry)
		c.room(here, l.Validate())
		if l.Registry != "" && !c.serves(l.Registry) {
			c.noRegistry(here.child("registry"), l.Registry)
		}
		if by := taken[l.Listen]; by != "" && !strings.HasSuffix(l.Listen, ":0") {
			c.doc.blame(here.child("listen"), "is where %s listens already", by)
		}
		taken[l.Listen] = "another [[listener]]"
	}
}

// noRegistry blames a name that no [[registry]] has.
func (c *checker) noRegistry(at place, name string) {
	var known []string
	for _, r := range c.cfg.Registries {
		known = append(append(known, r.Name), r.Aliases...)
	}
	if s := suggest(name, known); s != "" {
		c.doc.blame(at, "%q is no [[registry]] here; did you mean %q?", name, s)
		return
	}
	c.doc.blame(at, "%q is no [[registry]] here", name)
}

// addresses returns where the data plane listens.
func (c *Config) addresses() []string {
	all := []string{c.Server.Listen}
	for _, l := range c.Listeners {
		all = append(all, l.Listen)
	}
	return all
}

// first returns the first of these addresses of which open is true; "" if it is of none.
func first(addresses []string, open func(listen string) bool) string {
	i := slices.IndexFunc(addresses, open)
	if i < 0 {
		return ""
	}
	return addresses[i]
}

// exposing is first of what exposes u's login.
func (c *Config) exposing(u *Upstream, addresses []string) string {
	return first(addresses, func(listen string) bool { return c.exposes(u, listen) })
}
