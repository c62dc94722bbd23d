package config

import (
	"net/url"
	"slices"
	"strings"
)

// origins are the hosts that a registry answers on, where its name is not the
// one: what people call docker.io is served by registry-1.docker.io
// (docs/protocol.md 4.1).
var origins = map[string][]string{
	"docker.io": {"registry-1.docker.io", "index.docker.io", "registry.hub.docker.com"},
}

// ownNames are the names of a registry that are its own beside its hosts: what was
// k8s.gcr.io is frozen, and sends on to registry.k8s.io (Kubernetes blog, 2023-02-06).
var ownNames = map[string][]string{
	"docker.io":       origins["docker.io"],
	"registry.k8s.io": {"k8s.gcr.io"},
}

// ownAliases gives each registry its own names as aliases: regctl asks for
// ?ns=registry-1.docker.io, and people type that of an error message, whatever the
// file says. What the file itself calls by such a name stays what it is.
func (c *Config) ownAliases() {
	taken := map[string]bool{}
	for _, r := range c.Registries {
		taken[r.Name] = true
		for _, alias := range r.Aliases {
			taken[alias] = true
		}
	}
	for i := range c.Registries {
		r := &c.Registries[i]
		for _, name := range ownNames[r.Name] {
			if !taken[name] {
				// Clipped: the list may be that of another Config.
				r.Aliases = append(slices.Clip(r.Aliases), name)
				taken[name] = true
			}
		}
	}
}

// isOrigin reports whether an upstream at rawURL is the registry itself and not
// a relay or a mirror of it. A path in the URL makes it a relay, whatever the host:
// registries have their API at /v2.
func (r *Registry) isOrigin(rawURL string) bool {
	if r.IsAny() {
		return rawURL == "https://"+placeholder
	}
	u, err := url.Parse(rawURL)
	if err != nil || strings.Trim(strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/v2"), "/") != "" {
		return false
	}
	host := strings.TrimSuffix(strings.ToLower(u.Host), ":443")
	return host == strings.TrimSuffix(r.Name, ":443") || slices.Contains(origins[r.Name], host)
}

// IsOrigin reports whether an upstream at rawURL is the registry of that name itself.
func IsOrigin(registry, rawURL string) bool { return (&Registry{Name: registry}).isOrigin(rawURL) }
