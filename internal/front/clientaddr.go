package front

import (
	"net/http"
	"net/netip"
	"strings"
)

// trustedProxies are the addresses whose X-Forwarded-For is believed.
type trustedProxies []netip.Prefix

// clientAddr returns the address of the client: the connection's, or, if that is
// a trusted proxy's, the last one in X-Forwarded-For that is not. Whatever stands
// before that one was written by the client itself.
func (t trustedProxies) clientAddr(r *http.Request) netip.Addr {
	addr := addrOf(r.RemoteAddr)
	if !t.contains(addr) {
		return addr
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			return addr
		}
		if addr = hop.Unmap().WithZone(""); !t.contains(addr) {
			return addr
		}
	}
	return addr
}

// contains reports whether addr is a trusted proxy's. Prefixes are few, so a walk
// costs less than a tree of them would.
func (t trustedProxies) contains(addr netip.Addr) bool {
	for _, prefix := range t {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// addrOf returns the address of an address with a port; the zero Addr if it has
// none, as a Unix socket's.
func addrOf(addrPort string) netip.Addr {
	ap, err := netip.ParseAddrPort(addrPort)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
