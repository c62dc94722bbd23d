package front

import (
	"net"
	"net/netip"
	"strings"
)

// hostPolicy says which Host headers are answered. A web page whose name was
// rebound to our address reaches us with its own name in Host, and could read
// what this machine may pull (docs/faults.md 6, DNS rebinding); an IP literal cannot
// be rebound, so those are always fine.
type hostPolicy struct {
	any     bool
	allowed []string // lower case; a leading "*." stands for one or more labels
}

// newHostPolicy returns the policy of a listener: strict on a loopback address, and
// elsewhere only if names are configured.
func newHostPolicy(c Config) hostPolicy {
	// People reach a team's mirror by names that it cannot know (DNS aliases,
	// service names of a cluster), and every client on that network can pull
	// through it without any rebinding. So a listener that is open to a network
	// is strict only when it is told the names.
	p := hostPolicy{any: len(c.AllowedHosts) == 0 && !c.loopback()}
	for _, host := range c.AllowedHosts {
		p.allowed = append(p.allowed, strings.ToLower(host))
	}
	return p
}

// allows reports whether a request with this Host header may be answered.
// Names of registries are asked of routes: a machine whose hosts file points a
// registry at us sends them.
func (p hostPolicy) allows(hostport string, routes *Routes) bool {
	if p.any || hostport == "" { // HTTP/1.0 may leave it out; browsers never do
		return true
	}
	host := hostOnly(hostport)
	if isLocalhost(host) || isInternalName(host) {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	for _, pattern := range p.allowed {
		if suffix, ok := strings.CutPrefix(pattern, "*"); ok && strings.HasSuffix(host, suffix) {
			return true
		}
		if pattern == host || pattern == strings.ToLower(hostport) {
			return true
		}
	}
	return routes.byHost(hostport) != nil
}

// hostOnly returns the host of host or host:port in lower case, without the
// brackets of an IPv6 literal or the dot of an absolute name.
func hostOnly(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// isLoopbackName reports whether host means this machine, by name or address.
func isLoopbackName(host string) bool {
	addr, err := netip.ParseAddr(host)
	return isLocalhost(host) || err == nil && addr.Unmap().IsLoopback()
}

// isLocalhost reports whether host is localhost or below it. Those names are
// to resolve to loopback (RFC 6761, 6.3), so no page from elsewhere has one.
func isLocalhost(host string) bool {
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// isInternalName reports whether host is under .internal, as the names by which
// containers and VMs reach their host are (host.docker.internal,
// host.containers.internal, host.minikube.internal). The domain is reserved for
// private use, so no attacker can register a name there to rebind it.
func isInternalName(host string) bool { return strings.HasSuffix(host, ".internal") }
