package egress

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"code.dny.dev/ssrf"
)

// fakeIPs is the range of benchmarking, RFC 2544, from which Clash, mihomo and other TUN
// proxies make up an address for every name (fake-ip; docs/faults.md 10).
var fakeIPs = netip.MustParsePrefix("198.18.0.0/15")

// Ranges that AllowPrivate opens.
var (
	privateV4 = []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"),    // loopback, RFC 1122 3.2.1.3
		netip.MustParsePrefix("10.0.0.0/8"),     // RFC 1918
		netip.MustParsePrefix("172.16.0.0/12"),  // RFC 1918
		netip.MustParsePrefix("192.168.0.0/16"), // RFC 1918
		netip.MustParsePrefix("100.64.0.0/10"),  // shared address space, RFC 6598; Tailscale
		fakeIPs,
	}
	privateV6 = []netip.Prefix{
		netip.MustParsePrefix("::1/128"),  // loopback, RFC 4291 2.5.3
		netip.MustParsePrefix("fc00::/7"), // unique local, RFC 4193
	}
)

// neverDialled are the ranges that only a typed host:port opens: nothing that a
// registry may legitimately point at lives there, and the metadata services
// that hand out credentials do.
var neverDialled = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),          // "this network", RFC 791 3.2; 0.0.0.0 reaches loopback on Linux
	netip.MustParsePrefix("169.254.0.0/16"),     // link-local, RFC 3927; metadata of AWS, GCP, Azure and most others
	netip.MustParsePrefix("224.0.0.0/4"),        // multicast, RFC 1112
	netip.MustParsePrefix("255.255.255.255/32"), // broadcast, RFC 919
	netip.MustParsePrefix("::/128"),             // unspecified, RFC 4291 2.5.2
	netip.MustParsePrefix("fe80::/10"),          // link-local, RFC 4291 2.5.6
	netip.MustParsePrefix("ff00::/8"),           // multicast, RFC 4291 2.7
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud metadata, inside 100.64.0.0/10
	netip.MustParsePrefix("192.0.0.192/32"),     // Oracle Cloud metadata, older shapes
	netip.MustParsePrefix("168.63.129.16/32"),   // Azure's host agent: a public address that never leaves the host
	netip.MustParsePrefix("fd00:ec2::254/128"),  // AWS metadata over IPv6, inside fc00::/7
	netip.MustParsePrefix("fd20:ce::254/128"),   // GCP metadata over IPv6, inside fc00::/7
}

func newRanges(c GuardConfig) *ssrf.Guardian {
	var v4, v6 []netip.Prefix
	if c.AllowPrivate {
		v4, v6 = append(v4, privateV4...), append(v6, privateV6...)
	}
	for _, p := range c.allowCIDRs {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	return ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
}

// checkAddr judges an address that is about to be dialled or stands in a URL.
func (g *Guard) checkAddr(addr netip.Addr) error {
	addr = plain(addr)
	for _, p := range neverDialled {
		if p.Contains(addr) {
			return fmt.Errorf("%s is in %s, which is never dialled", addr, p)
		}
	}
	if err := g.ranges.SafeAddr(addr); err != nil {
		if fakeIPs.Contains(addr) {
			return fmt.Errorf("%s is a fake-ip of a TUN proxy%s", addr, g.hint())
		}
		for _, p := range slices.Concat(privateV4, privateV6) {
			if p.Contains(addr) {
				return fmt.Errorf("%s is a private address%s", addr, g.hint())
			}
		}
		return err
	}
	return nil
}

// hint names the setting that would allow what is refused, where there is one.
func (g *Guard) hint() string {
	if g.private {
		return ""
	}
	return ": set allow_private for this upstream if it is to be asked"
}

// nameHint names the settings that would allow a name. Where its address is seen, that
// would be refused next, so that only one of them helps.
func (g *Guard) nameHint() string {
	if g.private || !g.unseen() {
		return g.hint()
	}
	return ": if it is to be asked, name it in redirect_hosts (a token server in auth_hosts) of this upstream, or set allow_private"
}

// plain strips what disguises an address: the zone, the mapping of IPv4 into
// IPv6 (CVE-2024-24790), and the prefix of a NAT64 gateway, behind which it is
// the IPv4 address that gets dialled (RFC 6052 2.1).
func plain(addr netip.Addr) netip.Addr {
	addr = addr.WithZone("").Unmap()
	if ssrf.IPv6NAT64Prefix.Contains(addr) {
		b := addr.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return addr
}

// isName reports whether s, in lower case, is a DNS name in ASCII. Names in
// other scripts are refused and not translated: the network gives them in
// punycode, and what IDNA makes of "１２７.0.0.1" is 127.0.0.1.
func isName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}

// endsInNumber reports whether a resolver may take name for an IPv4 address in
// one of inet_aton's forms: 2130706433, 0x7f.1, 0177.0.0.1, 127.1 (WHATWG URL,
// "ends in a number").
func endsInNumber(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

// isMetadataName reports whether name is one by which a cloud's metadata
// service is known; a proxy inside that cloud would resolve it.
func isMetadataName(name string) bool {
	switch name {
	case "metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal":
		return true
	}
	return false
}

// isPrivateName reports whether name can only exist in a private network: one
// label, or under a name reserved for that (RFC 6761, RFC 6762, RFC 8375, ICANN's
// .internal).
func isPrivateName(name string) bool {
	return !strings.Contains(name, ".") || hasSuffix(name, ".localhost", ".local", ".internal", ".home.arpa") // .cluster.local is below .local
}

// mayBePrivateName reports whether name is under one that routers, offices (ICANN does not
// delegate .home and .corp for it; RFC 6762, appendix G) or clusters use, and that no
// standard reserves: at a public address it leads nowhere inward.
func mayBePrivateName(name string) bool {
	return hasSuffix(name, ".lan", ".home", ".corp", ".intranet", ".private", ".localdomain", ".svc")
}

func hasSuffix(name string, suffixes ...string) bool {
	return slices.ContainsFunc(suffixes, func(suffix string) bool { return strings.HasSuffix(name, suffix) })
}

// anyAddress are the domains whose names stand for the address that is written in them,
// or for loopback. They are public, and free for every use.
var anyAddress = []string{
	"nip.io", "sslip.io", "xip.io", "backname.io", "traefik.me", "1u.ms", "rbndr.us", // the address is in the name
	"localtest.me", "lvh.me", "vcap.me", "lacolhost.com", "fuf.me", "local.gd", "localhost.direct", "lndo.site", "ddev.site",
}

// standsForAny reports whether name is one of a domain that lets its users' names stand
// for any address.
func standsForAny(name string) bool {
	return slices.ContainsFunc(anyAddress, func(domain string) bool {
		rest, ok := strings.CutSuffix(name, domain)
		return ok && (rest == "" || strings.HasSuffix(rest, "."))
	})
}
