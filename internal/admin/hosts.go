package admin

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// A hostList is which names a request may call us by. A page that a browser
// loads from evil.example can have that name resolve to 127.0.0.1 and then read
// our answers as its own (DNS rebinding); it cannot choose the Host header. IP
// addresses need no list: a page from an address is of that address.
//
// With a token there is nothing to check: the page does not know it, and
// browsers add no bearer token by themselves.
type hostList struct{ names []string }

// newHostList returns the names of the configuration, and the one that the listener
// itself is called by.
func newHostList(cfg Config) hostList {
	names := slices.Clone(cfg.AllowedHosts)
	if host, _, err := net.SplitHostPort(cfg.ListenAddr()); err == nil && host != "" {
		names = append(names, host)
	}
	return hostList{names}
}

// allow judges a Host header, with or without a port.
func (l hostList) allow(header string) bool {
	host := header
	if h, _, err := net.SplitHostPort(header); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	if _, err := netip.ParseAddr(host); err == nil || loopback(host) {
		return true
	}
	return slices.ContainsFunc(l.names, func(name string) bool { return strings.EqualFold(name, host) })
}
