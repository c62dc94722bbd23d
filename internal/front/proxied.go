package front

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"
)

const (
	// helloTime is how long a proxy may take for the line that names its client.
	helloTime = 5 * time.Second

	// maxHellos is how many connections may be waiting for it.
	maxHellos = 1024
)

// A proxiedListener has connections of trusted proxies begin with the PROXY protocol, version
// 1 or 2, and takes the client's address from there. From them it is demanded: where it could be left
// out, a client that a proxy passes on as it came could write its own. What comes from other
// addresses is left as it is, and such a line gets a 400 there.
type proxiedListener struct {
	net.Listener
	trusted trustedProxies
	log     *slog.Logger

	accepted chan accepted
	closed   chan struct{} // by Close
	close    sync.Once
	running  sync.WaitGroup
}

// accepted is what Accept returns.
type accepted struct {
	conn net.Conn
	err  error
}

// newProxiedListener takes over ln, which Close closes.
func newProxiedListener(ln net.Listener, trusted trustedProxies, log *slog.Logger) *proxiedListener {
	l := &proxiedListener{Listener: ln, trusted: trusted, log: log, accepted: make(chan accepted), closed: make(chan struct{})}
	l.running.Go(l.run)
	return l
}

// Accept returns the next connection whose client is known. None waits for a proxy that is slow with another.
func (l *proxiedListener) Accept() (net.Conn, error) {
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends it, with the connections that have not said yet which client they are for.
func (l *proxiedListener) Close() error {
	err := l.Listener.Close()
	l.close.Do(func() { close(l.closed) })
	l.running.Wait()
	return err
}

// run accepts until the listener is closed.
func (l *proxiedListener) run() {
	turns := make(chan struct{}, maxHellos)
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			l.hand(accepted{err: err})
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		select {
		case turns <- struct{}{}:
		case <-l.closed:
			conn.Close()
			return
		}
		l.running.Go(func() {
			defer func() { <-turns }()
			l.greet(conn)
		})
	}
}

// greet finds out which client a connection is for, and hands it over.
func (l *proxiedListener) greet(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok || !l.trusted.contains(addrOf(conn.RemoteAddr().String())) {
		l.hand(accepted{conn: conn})
		return
	}
	remote, err := l.clientOf(tcp)
	if err != nil {
		l.log.Debug("no PROXY protocol from a trusted proxy", "addr", conn.RemoteAddr().String(), "error", err.Error())
		conn.Close()
		return
	}
	l.hand(accepted{conn: &proxiedConn{tcp, remote}})
}

// clientOf reads the beginning of a connection: the address of the client, or the proxy's
// own where it speaks for itself, as when it looks whether we are there.
func (l *proxiedListener) clientOf(conn *net.TCPConn) (net.Addr, error) {
	read := make(chan struct{})
	l.running.Go(func() {
		select {
		case <-l.closed:
			conn.Close()
		case <-read:
		}
	})
	defer close(read)
	if err := conn.SetReadDeadline(time.Now().Add(helloTime)); err != nil {
		return nil, err
	}
	hello, err := beginning(conn)
	if err != nil {
		return nil, err
	}
	header, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(hello)))
	if err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if header.Command.IsLocal() || header.TransportProtocol.IsUnspec() {
		return conn.RemoteAddr(), nil
	}
	client, _, ok := header.TCPAddrs()
	if !ok {
		return nil, fmt.Errorf("a client at %v, which is no TCP address", header.SourceAddr)
	}
	return client, nil
}

// maxHello is how long a beginning may be: one of version 2 has the length of what a proxy
// adds of its own, such as the name that TLS asked for.
const maxHello = 2048

// beginning reads what a proxy sends first, and no byte of the client's: one that is read
// ahead could not be given back to a *net.TCPConn, by which files go out by sendfile.
func beginning(r io.Reader) ([]byte, error) {
	b := make([]byte, 1, 128)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	more := func(n int) error {
		b = append(b, make([]byte, n)...)
		_, err := io.ReadFull(r, b[len(b)-n:])
		return err
	}
	if b[0] != proxyproto.SIGV2[0] { // version 1 is a line of 107 bytes at most
		for len(b) < 107 && b[len(b)-1] != '\n' {
			if err := more(1); err != nil {
				return nil, err
			}
		}
		return b, nil
	}
	if err := more(15); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(b[14:]))
	if length > maxHello {
		return nil, fmt.Errorf("%d bytes are no PROXY protocol", length)
	}
	return b, more(length)
}

// hand gives to Accept, or closes what no Accept will take any more.
func (l *proxiedListener) hand(a accepted) {
	select {
	case l.accepted <- a:
	case <-l.closed:
		if a.conn != nil {
			a.conn.Close()
		}
	}
}

// A proxiedConn is a connection whose other end is a proxy, with the address of its client.
type proxiedConn struct {
	*net.TCPConn
	client net.Addr
}

func (c *proxiedConn) RemoteAddr() net.Addr { return c.client }

// ProxyHello is what a program of ours has to send first on conn, to a listener of c: nothing, but where
// that takes it for a trusted proxy.
func (c Config) ProxyHello(conn net.Conn) string {
	if !c.ProxyProtocol || !trustedProxies(c.TrustedProxies).contains(addrOf(conn.LocalAddr().String())) {
		return ""
	}
	return "PROXY UNKNOWN\r\n"
}
