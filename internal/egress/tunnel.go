package egress

import (
	"bytes"
	"errors"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// A tunnel is a connection to a proxy. Until the proxy has made the way free
// it has a deadline, which the Transport does not set (it waits a minute for
// CONNECT and forever for SOCKS), and its errors say that it was the proxy
// that they came from, and how far it had got.
type tunnel struct {
	net.Conn
	proxy *url.URL
	open  atomic.Bool  // the way is free: bytes are the target's
	heard atomic.Int64 // bytes that the proxy itself has said
	login atomic.Bool  // the SOCKS proxy chose the login by password
}

func newTunnel(conn net.Conn, proxy *url.URL, handshake time.Duration) (net.Conn, error) {
	t := &tunnel{Conn: conn, proxy: proxy}
	if err := conn.SetDeadline(time.Now().Add(handshake)); err != nil {
		conn.Close()
		return nil, err
	}
	return t, nil
}

// Read looks at what the proxy says, and marks the errors of the handshake.
func (t *tunnel) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	if t.open.Load() {
		return n, err
	}
	first := n > 0 && t.heard.Load() == 0
	t.heard.Add(int64(n))
	if first {
		if greeting := t.greeting(b[:n]); greeting != nil {
			n, err = 0, greeting // a reader that has what it wants drops the error
		}
	}
	return n, t.broken(err)
}

// broken marks err, unless it is nil, as one of the handshake.
func (t *tunnel) broken(err error) error {
	if err == nil {
		return nil
	}
	return &handshakeError{
		proxy: t.proxy.Host,
		socks: isSOCKS(t.proxy),
		heard: t.heard.Load() > 0,
		login: t.login.Load() && t.heard.Load() <= 2,
		err:   err,
	}
}

// Two ways in which a first word tells that there is no going on. Go's SOCKS
// client does not see that a proxy wants a login that it has not got, and runs
// into an end of file or worse.
var (
	errNoLogin = errors.New("it wants a login and none is configured")
	errNotHTTP = errors.New("it does not speak HTTP")
)

// greeting looks at the first bytes from the proxy. A SOCKS proxy's are its
// version and the login that it chose, 2 for user name and password
// (RFC 1928, section 3); any other's are an HTTP status line.
func (t *tunnel) greeting(b []byte) error {
	if !isSOCKS(t.proxy) {
		if want := "HTTP/"; !strings.HasPrefix(string(b), want[:min(len(b), len(want))]) {
			return errNotHTTP
		}
		return nil
	}
	if len(b) >= 2 && b[0] == 5 && b[1] == 2 {
		t.login.Store(true)
		if t.proxy.User == nil {
			return errNoLogin
		}
	}
	return nil
}

// Write lifts the deadline with the first bytes that are not for the proxy.
func (t *tunnel) Write(b []byte) (int, error) {
	if t.open.Load() {
		return t.Conn.Write(b)
	}
	if t.isHandshake(b) { // a proxy that hangs up at once may be met while writing
		n, err := t.Conn.Write(b)
		return n, t.broken(err)
	}
	t.open.Store(true)
	if err := t.Conn.SetDeadline(time.Time{}); err != nil {
		return 0, err
	}
	return t.Conn.Write(b)
}

// isHandshake tells what the Transport writes to the proxy from what it writes
// to the target, which is a TLS record (22) or the method of a request. SOCKS5
// messages begin with 5 (RFC 1928), its login with 1 (RFC 1929).
func (t *tunnel) isHandshake(b []byte) bool {
	if isSOCKS(t.proxy) {
		return len(b) > 0 && (b[0] == 5 || b[0] == 1)
	}
	return bytes.HasPrefix(b, []byte("CONNECT "))
}
