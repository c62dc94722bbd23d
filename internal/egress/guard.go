package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"code.dny.dev/ssrf"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// GuardConfig says what an upstream may be led to. The zero value allows https
// to ports 80 and 443 of public addresses.
type GuardConfig struct {
	// Trusted are the host:port that the operator typed into the configuration.
	// They may be anything, 10.0.0.5:5000 included, and are not checked further.
	Trusted []string

	// Asked is a host:port that a client named, or empty. It is judged as what the network
	// tells is: a public name, by what it says and by each address that it has. Where it is at
	// an address of a TUN proxy's, so are all names.
	Asked string

	// AllowPrivate opens loopback, RFC 1918, unique local, 100.64.0.0/10 and
	// 198.18.0.0/15 addresses, names that only exist in private networks, and
	// every port. Link-local addresses and cloud metadata services stay closed.
	AllowPrivate bool

	AllowHTTP bool // plain http where no https came before it

	// Named are the globs of redirect_hosts: a name that one of them spells out is not
	// refused for what it looks like. The address that it has is judged all the same, where
	// it can be seen. One that any name fits, such as "*", names none.
	Named []string

	// Proxied says that names are resolved by a proxy, where no address can be judged: a
	// public name that stands for any address is refused then.
	Proxied bool

	// No setting leads to these two; tests dial servers of their own with them.
	allowCIDRs []netip.Prefix // more ranges; what AllowPrivate keeps closed stays closed
	allowPorts []int          // beside 80 and 443
}

// A Guard decides what may be dialled of what the network told us to dial
// (docs/faults.md 6, SSRF). It is safe for concurrent use; a nil Guard is the Guard
// of the zero GuardConfig.
type Guard struct {
	trusted map[string]bool // "host:port", lower case
	asked   string          // likewise; empty: none
	ports   map[uint16]bool
	private bool
	http    bool
	named   []string
	proxied bool
	ranges  *ssrf.Guardian
	fakeIP  atomic.Bool // a typed name resolves to an address of a TUN proxy's, so others may
}

// NewGuard returns the Guard for c, or an error that names the entry of c that
// makes no sense.
func NewGuard(c GuardConfig) (*Guard, error) {
	g := &Guard{
		trusted: make(map[string]bool, len(c.Trusted)),
		ports:   map[uint16]bool{80: true, 443: true},
		private: c.AllowPrivate,
		http:    c.AllowHTTP,
		proxied: c.Proxied,
		ranges:  newRanges(c),
	}
	for _, entry := range c.Trusted {
		host, port, err := net.SplitHostPort(entry)
		if err != nil || host == "" || port == "" {
			return nil, fmt.Errorf("egress: trusted %q is not host:port", entry)
		}
		g.trusted[hostKey(host, port)] = true
	}
	if c.Asked != "" {
		host, port, err := net.SplitHostPort(c.Asked)
		if err != nil {
			return nil, fmt.Errorf("egress: %q is not host:port", c.Asked)
		}
		g.asked = hostKey(host, port)
		if err := g.checkAsked(host, port); err != nil {
			return nil, refused(err)
		}
	}
	for _, glob := range c.Named {
		if strings.Trim(glob, "*?.") != "" {
			g.named = append(g.named, strings.ToLower(glob))
		}
	}
	for _, port := range c.allowPorts {
		if port < 1 || port > 65535 {
			return nil, fmt.Errorf("egress: port %d is out of range", port)
		}
		g.ports[uint16(port)] = true
	}
	return g, nil
}

// Check returns an error if u, learned from the network, must not be asked.
// From is the URL that led to it, or nil if nothing did. The error is a
// *pullchain.Error with Reason Refused and Code redirect_blocked; it does not
// hold u's path or query, which may be signed.
//
// Check is the whole defence behind an egress proxy, where names are resolved
// by the proxy (docs/faults.md 11.5): there a public name that resolves to a private
// address cannot be seen from here, but for the well-known ones that stand for any. On a direct egress the transport judges the
// resolved address too.
func (g *Guard) Check(u, from *url.URL) error {
	if err := g.orStrict().check(u, from); err != nil {
		return refused(err)
	}
	return nil
}

// refused is our own policy's no. It judges this request and nothing else: the next may
// well lead elsewhere (docs/faults.md 0.2).
func refused(err error) error {
	return &pullchain.Error{Reason: pullchain.Refused, Code: pullchain.CodeRedirectBlocked, Reach: pullchain.ReachRequest, Err: err}
}

func (g *Guard) check(u, from *url.URL) error {
	if u == nil || u.Opaque != "" || u.Hostname() == "" {
		return errors.New("not an absolute URL")
	}
	if u.User != nil {
		return fmt.Errorf("URL of %s holds a login", wire.Quote(u.Hostname()))
	}
	port := u.Port()
	if port == "" {
		port = defaultPort(u.Scheme)
	}
	trusted := g.trusts(net.JoinHostPort(u.Hostname(), port))
	if err := g.checkScheme(u, from, trusted); err != nil {
		return err
	}
	if trusted {
		return nil
	}
	if err := g.checkHost(u.Hostname()); err != nil {
		return err
	}
	return g.checkPort(port)
}

// checkScheme lets https pass, and http where https has never been: from an
// http URL, or at the start of a chain if the operator said so (docs/faults.md F24).
func (g *Guard) checkScheme(u, from *url.URL, trusted bool) error {
	switch {
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return fmt.Errorf("scheme %s is neither http nor https", wire.Quote(u.Scheme))
	case from != nil && from.Scheme == "https":
		return fmt.Errorf("downgrade from https to http at %s", wire.Quote(u.Hostname()))
	case from != nil || g.http || trusted:
		return nil
	}
	return fmt.Errorf("plain http to %s", wire.Quote(u.Hostname()))
}

func (g *Guard) checkPort(port string) error {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || !g.private && !g.ports[uint16(n)] {
		return fmt.Errorf("port %s is not allowed%s", wire.Quote(port), g.hint())
	}
	return nil
}

// checkHost judges the host of a URL without resolving it.
func (g *Guard) checkHost(host string) error {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if addr, err := netip.ParseAddr(name); err == nil {
		return g.checkAddr(addr)
	}
	if !isName(name) {
		return fmt.Errorf("%s is not a host name", wire.Quote(host))
	}
	if endsInNumber(name) {
		return fmt.Errorf("%s is an IP address in an unusual form", wire.Quote(host))
	}
	if isMetadataName(name) {
		return fmt.Errorf("%s is a metadata service", wire.Quote(host))
	}
	switch {
	case g.private || g.names(name):
	case isPrivateName(name), g.unseen() && mayBePrivateName(name):
		return fmt.Errorf("%s is a name of private networks%s", wire.Quote(host), g.nameHint())
	case g.unseen() && standsForAny(name):
		return fmt.Errorf("%s may be a private address, which the proxy finds out and pullchain does not%s", wire.Quote(host), g.nameHint())
	}
	return nil
}

// checkAsked judges a host that a client named as strictly as where no address can be
// seen: a single label, an address and a name that stands for any are no registry's.
func (g *Guard) checkAsked(host, port string) error {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(name); err == nil {
		return fmt.Errorf("%s is an address and no name", wire.Quote(host))
	}
	if mayBePrivateName(name) || standsForAny(name) {
		return fmt.Errorf("%s may be a name of private networks", wire.Quote(host))
	}
	if err := g.checkHost(host); err != nil {
		return err
	}
	return g.checkPort(port)
}

// names reports whether the operator has spelled name out.
func (g *Guard) names(name string) bool {
	return slices.ContainsFunc(g.named, func(glob string) bool {
		ok, _ := path.Match(glob, name)
		return ok
	})
}

// unseen reports whether the addresses of names are not seen here: a proxy resolves
// them, or a TUN proxy that has an address of its own for each.
func (g *Guard) unseen() bool { return g.proxied || g.fakeIP.Load() }

// control is for net.Dialer.Control, which runs once an address has been
// chosen and before anything is sent to it: a name that resolves to another
// address the second time it is asked gains nothing. An address that stands in a URL
// itself has been refused by Check before.
func (g *Guard) control(_, address string, _ syscall.RawConn) error {
	target, err := netip.ParseAddrPort(address)
	if err == nil && !(g.fakeIP.Load() && fakeIPs.Contains(plain(target.Addr()))) {
		err = g.checkAddr(target.Addr())
	}
	if err == nil {
		err = g.checkPort(strconv.Itoa(int(target.Port())))
	}
	if err != nil {
		return refused(err)
	}
	return nil
}

// learn is for net.Dialer.Control where a typed name is dialled. If that name itself is
// at an address of a TUN proxy's, all names are: the proxy answers every question so and
// maps the address back when it is dialled (Clash, mihomo, sing-box: fake-ip). Nothing
// of a private network can be reached at such an address.
func (g *Guard) learn(_, address string, _ syscall.RawConn) error {
	if target, err := netip.ParseAddrPort(address); err == nil && fakeIPs.Contains(plain(target.Addr())) {
		g.fakeIP.Store(true)
	}
	return nil
}

// learnAsked is learn and control for the host that a client named.
func (g *Guard) learnAsked(network, address string, c syscall.RawConn) error {
	if err := g.learn(network, address, c); err != nil {
		return err
	}
	return g.control(network, address, c)
}

// isAsked reports whether a client named this host:port.
func (g *Guard) isAsked(address string) bool {
	host, port, err := net.SplitHostPort(address)
	return err == nil && g.asked != "" && g.asked == hostKey(host, port)
}

// trusts reports whether the operator typed this host:port.
func (g *Guard) trusts(address string) bool {
	host, port, err := net.SplitHostPort(address)
	return err == nil && g.trusted[hostKey(host, port)]
}

// trustsHost reports whether the operator typed this host, with any port.
func (g *Guard) trustsHost(host string) bool {
	for entry := range g.trusted {
		if h, _, _ := net.SplitHostPort(entry); strings.EqualFold(h, strings.TrimSuffix(host, ".")) {
			return true
		}
	}
	return false
}

// trustsAnIP reports whether the operator typed any IP address.
func (g *Guard) trustsAnIP() bool {
	for entry := range g.trusted {
		h, _, _ := net.SplitHostPort(entry)
		if _, err := netip.ParseAddr(h); err == nil {
			return true
		}
	}
	return false
}

func (g *Guard) orStrict() *Guard {
	if g != nil {
		return g
	}
	strict, err := NewGuard(GuardConfig{})
	if err != nil {
		panic(err) // the zero GuardConfig has no entry that could be wrong
	}
	return strict
}

func hostKey(host, port string) string {
	return net.JoinHostPort(strings.ToLower(strings.TrimSuffix(host, ".")), port)
}
