package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// anyRegistry is the name of the block that serves what no other one names, and
// placeholder what stands for the registry's name in the URLs of its upstreams.
const (
	anyRegistry = "*"
	placeholder = "{registry}"
)

// errNotNamed is why a registry is not served where no block serves any.
var errNotNamed = errors.New("add a [[registry]] with this name to pullchain's configuration")

// sample is a name that placeholder may stand for, for checks.
const sample = "registry.example.com"

// IsAny reports whether r serves the registries that no other block names. It is a pattern:
// [Config.Any] makes a registry of it.
func (r *Registry) IsAny() bool { return r.Name == anyRegistry }

// ServesAny reports whether registries are served that no block names.
func (c *Config) ServesAny() bool { return c.any() >= 0 }

func (c *Config) any() int {
	return slices.IndexFunc(c.Registries, func(r Registry) bool { return r.IsAny() })
}

// Any returns the registry that a client calls name and no block does, as the block
// [[registry]] name = "*" makes it. It returns an error if there is no such block or name
// is none of the public internet's: whether its address is public is found out with each
// connection.
func (c *Config) Any(name string) (Registry, error) {
	i := c.any()
	if i < 0 {
		return Registry{}, errNotNamed
	}
	host, port, _ := strings.Cut(strings.ToLower(name), ":")
	switch {
	case !registryName.MatchString(host) || len(host) > 253 || !strings.Contains(host, "."):
		return Registry{}, errors.New("no block of the configuration names it, and it is no public name")
	case port != "" && port != "443":
		return Registry{}, errors.New("no block of the configuration names it, and others are asked at port 443 alone")
	}
	return c.Registries[i].named(host), nil
}

// named returns r for one registry.
func (r Registry) named(host string) Registry {
	r.Name = host
	r.Upstreams = slices.Clone(r.Upstreams)
	for i := range r.Upstreams {
		u := &r.Upstreams[i]
		u.Asked = u.asked()
		if at := origins[host]; u.Asked && at != nil {
			u.URL = "https://" + at[0]
		}
		u.URL = strings.ReplaceAll(u.URL, placeholder, host)
	}
	return r
}

// asked reports whether clients name the host of u, which therefore is nothing but public.
func (u *Upstream) asked() bool {
	_, after, ok := strings.Cut(u.URL, "://")
	return ok && strings.HasPrefix(after, placeholder)
}

// checked returns u as it is for one registry, which is what its room can judge.
func (u Upstream) checked() *Upstream {
	u.URL = strings.ReplaceAll(u.URL, placeholder, sample)
	return &u
}

// any checks the block that serves the registries which no other one names: what a client
// names must lead to no login, to no private address and to one registry.
func (c *checker) any(at place, r *Registry) {
	if len(r.Aliases) > 0 {
		c.doc.blame(at.child("aliases"), "what serves any registry has no other name")
	}
	if listen := first(c.cfg.addresses(), c.cfg.opensToAll); listen != "" {
		c.doc.blame(at, "%s", openToAll(listen))
	}
	for i := range r.Upstreams {
		u := &r.Upstreams[i]
		here := at.child("upstream").item(i, u.Name)
		_, rest, _ := strings.Cut(u.URL, "://")
		host, _, _ := strings.Cut(rest, "/")
		switch {
		case strings.Contains(host, placeholder) && u.URL != "https://"+placeholder:
			c.doc.blame(here.child("url"), "a host that clients name is asked as \"https://%s\" and not otherwise", placeholder)
		case !strings.Contains(u.URL, placeholder) && !u.NS:
			c.doc.blame(here.child("url"), "must say where the registry's name comes in, as in \"https://mirror.example.com/%s\" or \"https://%s\", or have ns = true beside it", placeholder, placeholder)
		}
		if u.asked() {
			c.openHost(here, u)
		}
	}
}

// openHost checks that nothing is for the hosts that clients name which is meant for some.
func (c *checker) openHost(at place, u *Upstream) {
	for key, set := range map[string]bool{
		"username": u.Username != "", "password_file": u.PasswordFile != "", "token_file": u.TokenFile != "", "credential_helper": u.CredentialHelper != "", "client_cert": u.ClientCert != "", "client_key": u.ClientKey != "", "headers": len(u.Headers) > 0,
		"auth_hosts": len(u.AuthHosts) > 0, "allow_private": u.AllowPrivate, "insecure_skip_verify": u.InsecureSkipVerify,
	} {
		if set {
			c.doc.blame(at.child(key), "is not for hosts that clients name: give the registry that it is for a block of its own")
		}
	}
}

// opensToAll reports whether more than this machine, and those that [access] lets in, could
// have any host asked by way of listen. Behind a proxy or under a name of its own a loopback
// serves others too.
func (c *Config) opensToAll(listen string) bool {
	s := c.Server
	alone := loopback(listen) && len(s.TrustedProxies) == 0 && len(s.AllowedHosts) == 0
	return !alone && !c.Access.AsksForProof() && !narrow(c.Access.AllowCIDRs)
}

// narrow reports whether ranges leave any address out; where there are none, none is.
func narrow(ranges []netip.Prefix) bool {
	return len(ranges) > 0 && !slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Bits() == 0 })
}

func openToAll(listen string) string {
	return fmt.Sprintf("everybody who can reach %s could have pullchain ask any host of the internet: let it listen on 127.0.0.1, say under [access] who may come, or name the registries", listen)
}

// CheckAny returns an error if registries that no block names would be served on one of
// these addresses, which are as in [server] and which loading has not judged. What the embedded configuration
// serves so is taken out of c instead: no file asks for it.
func (c *Config) CheckAny(listen ...string) error {
	i, open := c.any(), first(listen, c.opensToAll)
	switch {
	case i < 0 || open == "":
		return nil
	case c.Implied:
		c.Registries = slices.Delete(slices.Clone(c.Registries), i, i+1)
		return nil
	}
	return fmt.Errorf("registry %q: %s", anyRegistry, openToAll(open))
}
