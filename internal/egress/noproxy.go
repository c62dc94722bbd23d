package egress

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// noProxy is a parsed NO_PROXY: the targets that are dialled directly.
type noProxy struct {
	all      bool
	prefixes []portPrefix
	domains  []portDomain
}

type portPrefix struct {
	prefix netip.Prefix
	port   string // empty for any
}

type portDomain struct {
	suffix string // ".example.com"
	exact  bool   // example.com itself too
	port   string // empty for any
}

// parseNoProxy reads a comma-separated list of "*", addresses, CIDR prefixes
// and domains, each but the prefixes with an optional :port. A domain covers
// itself and everything below it; with a leading "." or "*." only what is
// below. The rules are those of golang.org/x/net/http/httpproxy, which is not
// used because it needs golang.org/x/text and would bring a second copy of the
// IDNA tables. Entries that make no sense are ignored, as there.
func parseNoProxy(list string) noProxy {
	var n noProxy
	for entry := range strings.SplitSeq(strings.ToLower(list), ",") {
		entry = strings.TrimSpace(entry)
		if entry == "*" {
			return noProxy{all: true}
		}
		if prefix, err := netip.ParsePrefix(entry); err == nil {
			n.prefixes = append(n.prefixes, portPrefix{prefix: prefix.Masked()})
			continue
		}
		host, port := entry, ""
		if h, p, err := net.SplitHostPort(entry); err == nil {
			host, port = h, p
		}
		if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
			if addr.Zone() != "" {
				continue // means one interface of this machine; a URL's zone is not compared
			}
			addr = addr.Unmap()
			n.prefixes = append(n.prefixes, portPrefix{netip.PrefixFrom(addr, addr.BitLen()), port})
			continue
		}
		host, below := strings.CutPrefix(strings.TrimPrefix(host, "*"), ".")
		if host != "" {
			n.domains = append(n.domains, portDomain{"." + host, !below, port})
		}
	}
	return n
}

// covers reports whether target is to be dialled directly. Loopback always is.
func (n noProxy) covers(target *url.URL) bool {
	host, port := strings.ToLower(target.Hostname()), target.Port()
	if port == "" {
		port = defaultPort(target.Scheme)
	}
	addr, err := netip.ParseAddr(host)
	addr = addr.Unmap().WithZone("")
	if n.all || host == "localhost" || err == nil && addr.IsLoopback() {
		return true
	}
	if err == nil {
		for _, p := range n.prefixes {
			if p.prefix.Contains(addr) && (p.port == "" || p.port == port) {
				return true
			}
		}
		return false
	}
	for _, d := range n.domains {
		match := strings.HasSuffix(host, d.suffix) || d.exact && host == d.suffix[1:]
		if match && (d.port == "" || d.port == port) {
			return true
		}
	}
	return false
}

// defaultPort returns the port that scheme implies, or nothing.
func defaultPort(scheme string) string {
	switch scheme {
	case "http":
		return "80"
	case "https":
		return "443"
	}
	return ""
}
