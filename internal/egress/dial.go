package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"time"
)

// A dialer opens the connections of one transport: to proxies and to what the
// operator typed as they are, to everything else under the guard's eye.
type dialer struct {
	guard     *Guard
	proxies   map[string]*url.URL
	roots     *x509.CertPool
	handshake time.Duration // limit for a proxy's TLS, and again for its SOCKS or CONNECT
	open      *net.Dialer
	typed     *net.Dialer // as open; the guard learns from it
	guarded   *net.Dialer
	asked     *net.Dialer // as guarded; the guard learns from it too
	family    Family      // of the addresses that may be dialled; "" for both
	source    netip.Addr  // that connections come from; the zero Addr is any
	memory    *addressMemory
	dialled   func(target, ip string) // nil for none
}

// happyEyeballs is the wait before the other address family is tried
// (RFC 8305 section 5; docs/faults.md 6).
const happyEyeballs = 250 * time.Millisecond

func newDialer(c TransportConfig, r route) *dialer {
	open := net.Dialer{Timeout: c.ConnectTimeout, FallbackDelay: happyEyeballs, Resolver: c.resolver, LocalAddr: c.Egress.local()}
	typed, guarded, asked := open, open, open
	typed.Control = c.Guard.learn
	guarded.Control = c.Guard.control
	asked.Control = c.Guard.learnAsked
	return &dialer{
		guard:     c.Guard,
		proxies:   r.proxies,
		roots:     c.RootCAs,
		handshake: c.TLSTimeout,
		open:      &open,
		typed:     &typed,
		guarded:   &guarded,
		asked:     &asked,
		family:    c.Egress.family(),
		source:    c.Egress.source(),
		memory:    newAddressMemory(),
		dialled:   c.Dialled,
	}
}

// dial is for http.Transport.DialContext. The address of a proxy is known by
// its host:port; a target of the same spelling, which a NO_PROXY could make
// direct, was already refused by [Guard.Check].
func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if proxy, ok := d.proxies[address]; ok {
		return d.dialProxy(ctx, network, proxy)
	}
	if d.guard.trusts(address) {
		by := d.typed
		if isLiteral(address) { // no name service has told it: it says nothing of names
			by = d.open
		}
		conn, err := d.connect(ctx, by, network, address)
		d.tell(address, conn, err)
		return conn, err
	}
	if d.guard.isAsked(address) {
		conn, err := d.connect(ctx, d.asked, network, address)
		d.tell(address, conn, err)
		return conn, err
	}
	return d.connect(ctx, d.guarded, network, address)
}

// tell tells which address has been dialled for target, if it came that far.
func (d *dialer) tell(target string, conn net.Conn, err error) {
	if d.dialled == nil {
		return
	}
	var at net.Addr
	if err == nil {
		at = conn.RemoteAddr()
	} else if op, ok := errors.AsType[*net.OpError](err); ok {
		at = op.Addr
	}
	if tcp, ok := at.(*net.TCPAddr); ok {
		d.dialled(target, tcp.IP.String())
	}
}

// isLiteral reports whether host:port has an IP address for its host.
func isLiteral(address string) bool {
	_, err := netip.ParseAddrPort(address)
	return err == nil
}

// dialProxy connects to a proxy, by TLS if its URL says so, and sets the time
// that it has for its handshake.
func (d *dialer) dialProxy(ctx context.Context, network string, proxy *url.URL) (net.Conn, error) {
	conn, err := d.connect(ctx, d.open, network, proxy.Host)
	d.tell(proxy.Host, conn, err)
	if err != nil {
		return nil, err
	}
	if proxy.Scheme == "https" {
		if conn, err = d.secure(ctx, conn, proxy.Hostname()); err != nil {
			return nil, err
		}
	}
	return newTunnel(conn, proxy, d.handshake)
}

// secure makes the TLS connection to a proxy. It always verifies: the login
// that follows is worth more than an upstream's insecure_skip_verify.
func (d *dialer) secure(ctx context.Context, conn net.Conn, host string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.handshake)
	defer cancel()
	secured := tls.Client(conn, &tls.Config{
		ServerName: host,
		RootCAs:    d.roots,
		MinVersion: tls.VersionTLS12,
	})
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}
