package config

import (
	"slices"
	"strings"

	"github.com/pullchain/pullchain/internal/front"
)

// listeners checks the [[listener]] tables: what each says, that its registry is one
// that is served, and that no two listen at one address.
func (c *checker) listeners(at place) {
	taken := map[string]string{c.cfg.Server.Listen: "[server]", c.cfg.Admin.Listen: "[admin]"}
	own := len(c.cfg.Listeners) - c.cfg.Also
	for i, l := range c.cfg.Listeners {
		here := at.item(i, l.Registry)
		if i >= own {
			here = place{}.child("server")
		}
		c.room(here, l.Validate())
		if l.Registry != "" && i < own && !c.serves(l.Registry) {
			c.noRegistry(here.child("registry"), l.Registry)
		}
		if by := taken[l.Listen]; by != "" && !strings.HasSuffix(l.Listen, ":0") {
			c.doc.blame(here.child("listen"), "%s is where %s listens already", l.Listen, by)
		}
		taken[l.Listen] = "another [[listener]]"
	}
}

// splitListen takes the further addresses out of a list in [server] listen, and leaves the
// first one as if it were alone. What is no list of texts stays, for the decoder to blame.
func (d *document) splitListen() (also []string) {
	server, _ := d.tree["server"].(map[string]any)
	list, _ := server["listen"].([]any)
	for _, one := range list {
		address, ok := one.(string)
		if !ok {
			return nil
		}
		also = append(also, address)
	}
	if len(also) == 0 {
		return nil
	}
	server["listen"] = also[0]
	return also[1:]
}

// listenAlso makes listeners of further addresses of [server].
func (c *Config) listenAlso(addresses []string) {
	c.Also = len(addresses)
	for _, at := range addresses {
		c.Listeners = append(c.Listeners, front.Listener{Listen: at, Registry: "docker.io", TLSCert: c.Server.TLSCert, TLSKey: c.Server.TLSKey, HTTP2: c.Server.HTTP2})
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
