package simnet

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
)

// Config says what all servers of a Net have in common. The zero value is
// HTTPS over HTTP/1.1 on 127.0.0.1.
type Config struct {
	Host  string // IP address to listen on and to put into URLs; "" is 127.0.0.1
	Plain bool   // serve plain HTTP; URLs begin with http://
	HTTP2 bool   // offer h2 in the TLS handshake
}

// A Net is a small internet on loopback: servers, each an origin of its own,
// and one ledger of everything that they were asked. Its methods are safe for
// concurrent use. Methods that start a server panic when the host cannot be
// listened on: without loopback there is nothing to simulate.
type Net struct {
	cfg    Config
	ledger *Ledger
	ctx    context.Context // ends with Close; frees whatever waits on purpose
	cancel context.CancelFunc
	wg     sync.WaitGroup // accept loops, raw connections, tunnels

	mu      sync.Mutex
	servers []*Server
	names   map[string]*Server // pretend host name -> server
	layers  map[string]*layerBytes
	closers []func()
	closed  bool
}

// New returns an empty Net. The caller closes it.
func New(cfg Config) *Net {
	if cfg.Host == "" {
		cfg.Host = "127.0.0.1"
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Net{
		cfg: cfg, ctx: ctx, cancel: cancel,
		ledger: newLedger(),
		names:  map[string]*Server{},
		layers: map[string]*layerBytes{},
	}
}

// Close stops every server, closes every connection and waits for the
// goroutines of this Net. Closing twice does nothing.
func (n *Net) Close() {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	n.closed = true
	servers, closers := slices.Clone(n.servers), slices.Clone(n.closers)
	n.mu.Unlock()

	n.cancel()
	for _, s := range servers {
		s.stop()
	}
	for _, c := range closers {
		c()
	}
	n.wg.Wait()
	_ = n.ledger.WaitIdle(context.Background())
}

// Ledger returns the record of every request that any server saw.
func (n *Net) Ledger() *Ledger { return n.ledger }

// Server returns the server of that name, or nil. The name is the one of its
// config; the token server and the CDN of hub "hub" are "hub-auth" and
// "hub-cdn".
func (n *Net) Server(name string) *Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.servers {
		if s.name == name {
			return s
		}
	}
	return nil
}

// Dial connects to addr as a client of this internet would. The pretend names
// of servers (hub.sim:443; the port does not matter) lead to the real
// listeners; addresses of loopback are dialed as they are; everything else
// does not exist: a *net.DNSError with IsNotFound. It fits
// http.Transport.DialContext.
func (n *Net) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return n.dialFrom(ctx, network, addr, "")
}

// dialFrom is Dial with a local address, so that a server that counts by
// client address can tell paths apart.
func (n *Net) dialFrom(ctx context.Context, network, addr, sourceIP string) (net.Conn, error) {
	real, err := n.resolve(addr)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	if sourceIP != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(sourceIP)}
	}
	return d.DialContext(ctx, network, real)
}

// resolve maps an address of this internet to a real one.
func (n *Net) resolve(addr string) (string, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("simnet: address %q: %w", addr, err)
	}
	n.mu.Lock()
	s := n.names[host]
	n.mu.Unlock()
	if s != nil {
		return s.Addr(), nil
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() || host == n.cfg.Host {
		return addr, nil
	}
	return "", &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// Client returns an http.Client that trusts this Net's CA, knows its pretend
// names, follows redirects as Go does and never uses a proxy of the
// environment. The caller need not close it; Close does.
func (n *Net) Client() *http.Client { return n.clientFrom("") }

// clientFrom is Client from a source address, as that of an egress proxy: quotas
// count by it.
func (n *Net) clientFrom(sourceIP string) *http.Client {
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return n.dialFrom(ctx, network, addr, sourceIP)
		},
		TLSClientConfig:     &tls.Config{RootCAs: n.CertPool()},
		ForceAttemptHTTP2:   n.cfg.HTTP2,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 64,
	}
	n.onClose(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (n *Net) onClose(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closers = append(n.closers, f)
}

// join makes s known by name and by its pretend host names. A host name that
// is taken keeps its first owner.
func (n *Net) join(s *Server, hosts []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.servers = append(n.servers, s)
	for _, h := range hosts {
		if n.names[h] == nil {
			n.names[h] = s
		}
	}
}
