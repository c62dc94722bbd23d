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

// isOrigin reports whether an upstream at rawURL is the registry itself and not
// a relay or a mirror of it. A path in the URL makes it a relay, whatever the host:
// registries have their API at /v2.
func (r *Registry) isOrigin(rawURL string) bool {
	u, err := url.Parse(rawURL)
	if err != nil || strings.Trim(strings.TrimSuffix(u.Path, "/v2"), "/") != "" {
		return false
	}
	host := strings.TrimSuffix(strings.ToLower(u.Host), ":443")
	return host == strings.TrimSuffix(r.Name, ":443") || slices.Contains(origins[r.Name], host)
}
