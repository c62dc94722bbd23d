package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/pullchain/pullchain"
)

// A Family is which of the internet's two kinds of addresses connections use. Registries
// count by them: by an IPv4 address, or by the /64 that an IPv6 address is in
// (docs/protocol.md 4.1).
type Family string

// The families. The empty Family is both, as the names have them.
const (
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
)

// has reports whether a is of the family.
func (f Family) has(a netip.Addr) bool {
	switch f {
	case IPv4:
		return a.Is4()
	case IPv6:
		return a.Is6()
	}
	return true
}

// word writes the family as people do.
func (f Family) word() string { return strings.Replace(string(f), "ip", "IP", 1) }

// source returns the address that connections are to come from, or the zero Addr.
func (c Config) source() netip.Addr {
	a, _ := netip.ParseAddr(c.Source) // validated
	return a.Unmap()
}

// family returns the one family of addresses that may be dialled, or "" for both. What
// comes from an address goes to its like.
func (c Config) family() Family {
	source := c.source()
	switch {
	case c.Family != "" || !source.IsValid():
		return c.Family
	case source.Is4():
		return IPv4
	}
	return IPv6
}

func (c Config) validateSource() error {
	switch c.Family {
	case "", IPv4, IPv6:
	default:
		return fmt.Errorf("family: %q is neither %q nor %q", c.Family, IPv4, IPv6)
	}
	if c.Source == "" {
		return nil
	}
	source, err := netip.ParseAddr(c.Source)
	switch {
	case err != nil:
		return errors.New("source: is not an IP address; write one of this machine's, as in 192.0.2.7 or 2001:db8::7")
	case source.IsUnspecified() || source.IsMulticast():
		return fmt.Errorf("source: connections cannot come from %s; write one of this machine's own addresses", source)
	case !c.Family.has(source.Unmap()):
		return fmt.Errorf("source: %s is no address of the family %s; leave family out, or write one of that kind", source, c.Family.word())
	}
	return nil
}

// CheckSource returns an error if the address that connections are to come from is none of
// this machine's. It may become one: an interface comes up after the daemon.
func (c Config) CheckSource(ctx context.Context) error {
	source := c.source()
	if !source.IsValid() {
		return nil
	}
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", netip.AddrPortFrom(source, 0).String())
	if err == nil {
		return l.Close()
	}
	if !errors.Is(err, syscall.EADDRNOTAVAIL) {
		return nil // it says nothing of the address
	}
	return &sourceError{source, err}
}

// A sourceError is a connection that could not come from where it was to.
type sourceError struct {
	source netip.Addr
	err    error
}

func (e *sourceError) Error() string {
	return fmt.Sprintf("source %s is no address of this machine: %v", e.source, e.err)
}

func (e *sourceError) Unwrap() error { return e.err }

// classify: no proxy and no upstream is to blame, nor can another lane through it do better.
func (e *sourceError) classify() (pullchain.Code, bool) { return pullchain.CodeSourceAddress, true }

// local returns the address that sockets are bound to, or nil.
func (c Config) local() net.Addr {
	if source := c.source(); source.IsValid() {
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	return nil
}

// connect connects to address by by, over the family that the egress has. Go asks a name
// server for addresses of that family only.
func (d *dialer) connect(ctx context.Context, by *net.Dialer, network, address string) (net.Conn, error) {
	switch d.family {
	case IPv4:
		network = "tcp4"
	case IPv6:
		network = "tcp6"
	}
	conn, err := d.memory.dial(ctx, by, network, address)
	if err == nil {
		return conn, nil
	}
	_, noName := errors.AsType[*net.DNSError](err)
	_, noAddress := errors.AsType[*net.AddrError](err)
	switch {
	case d.source.IsValid() && errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, &sourceError{d.source, err}
	case d.family != "" && (noName || noAddress):
		return nil, fmt.Errorf("%w (its egress uses %s only)", err, d.family.word())
	}
	return nil, err
}
