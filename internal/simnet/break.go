package simnet

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"
)

// A ConnFault is a fault of a server's connections, below HTTP.
type ConnFault uint8

// The faults of connections.
const (
	ConnOK            ConnFault = iota
	ConnRefused                 // nothing listens: ECONNREFUSED; the port stays reserved
	ConnBlackhole               // SYNs are dropped: a dial hangs (on Unix; elsewhere as ConnSilent)
	ConnSilent                  // accepted, read, never answered
	ConnReset                   // accepted, then a TCP reset
	ConnClose                   // accepted, then a FIN
	ConnExpiredCert             // certificate ended an hour ago
	ConnWrongHost               // certificate for another host
	ConnUnknownCA               // certificate from a CA that no client trusts
	ConnNotTLS                  // answers a TLS hello with a plain HTTP 400
	ConnRawSettings             // HTTP/2 SETTINGS frame on an HTTP/1.1 connection
	ConnH2GoAway                // h2: GOAWAY(NO_ERROR, last stream 0) at the first request
	ConnH2Refused               // h2: RST_STREAM(REFUSED_STREAM) for every request
	ConnH2Calm                  // h2: GOAWAY(ENHANCE_YOUR_CALM) at the first request
	ConnH2ResetMidway           // h2: 200, some bytes, RST_STREAM(INTERNAL_ERROR)
)

// takesOver reports whether the HTTP server never sees such a connection.
func (f ConnFault) takesOver() bool {
	switch f {
	case ConnOK, ConnExpiredCert, ConnWrongHost, ConnUnknownCA:
		return false
	}
	return true
}

// Break applies f to every new connection until [Server.Mend], and closes the
// open ones, so that keep-alive does not hide it. A later Break replaces an
// earlier one.
func (s *Server) Break(f ConnFault) { s.breakConns(f, -1) }

// BreakNext is Break for the next n connections only. ConnRefused and
// ConnBlackhole cannot count; with them it is the same as Break.
func (s *Server) BreakNext(f ConnFault, n int) { s.breakConns(f, n) }

// Mend ends a Break. A closed listener opens again on the same port, and
// connections that the fault has in its hands are closed.
func (s *Server) Mend() { s.breakConns(ConnOK, -1) }

// breakConns sets the fault of the next n connections, -1 for all, and closes those
// that it makes a lie. The listener changes under the lock and the connections
// close outside of it: closing takes the lock again.
func (s *Server) breakConns(f ConnFault, n int) {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return
	}
	s.broken, s.left = f, n
	err := s.setListenerLocked(f)
	s.mu.Unlock()
	if err != nil {
		panic(fmt.Sprintf("simnet: %s: %v", s.name, err))
	}
	s.closeConnections(func(c *conn) bool { return f != ConnOK || c.fault != ConnOK })
}

// setListenerLocked opens or closes the listener as f wants it.
func (s *Server) setListenerLocked(f ConnFault) error {
	switch f {
	case ConnRefused:
		s.closeListenerLocked()
		return s.holdLocked(holdPort)
	case ConnBlackhole:
		s.closeListenerLocked()
		return s.holdLocked(dropSYNs)
	}
	if s.ln != nil {
		return nil
	}
	ln, err := s.relistenLocked()
	if err != nil {
		return err
	}
	s.ln = ln
	s.net.wg.Go(func() { s.acceptFrom(ln) })
	return nil
}

// holdLocked replaces what keeps the port.
func (s *Server) holdLocked(hold func(addr string) (io.Closer, error)) error {
	if s.holder != nil {
		_ = s.holder.Close()
		s.holder = nil
	}
	h, err := patiently(func() (io.Closer, error) { return hold(s.addr) })
	if err != nil {
		return fmt.Errorf("hold %s: %w", s.addr, err)
	}
	s.holder = h
	return nil
}

// relistenLocked takes the port back. A holder that listens, or a system that
// does not let two sockets share a port for a moment, has to go first.
func (s *Server) relistenLocked() (net.Listener, error) {
	ln, err := net.Listen("tcp", s.addr)
	if s.holder != nil {
		_ = s.holder.Close()
		s.holder = nil
	}
	if err != nil {
		ln, err = patiently(func() (net.Listener, error) { return net.Listen("tcp", s.addr) })
	}
	if err != nil {
		return nil, fmt.Errorf("listen again on %s: %w", s.addr, err)
	}
	return ln, nil
}

// patiently takes a port that has just been let go of. Whatever program is being
// started in this moment may have a copy of the socket (between fork and exec).
func patiently[T any](take func() (T, error)) (T, error) {
	v, err := take()
	for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		v, err = take()
	}
	return v, err
}

// Blackhole returns an address whose SYNs are dropped, as closely as loopback
// can play it: a socket with a full accept queue. On systems other than Unix
// it accepts and stays silent.
func (n *Net) Blackhole() string {
	ln, err := net.Listen("tcp", net.JoinHostPort(n.cfg.Host, "0"))
	if err != nil {
		panic(fmt.Sprintf("simnet: blackhole: %v", err))
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	h, err := patiently(func() (io.Closer, error) { return dropSYNs(addr) })
	if err != nil {
		panic(fmt.Sprintf("simnet: blackhole: %v", err))
	}
	n.onClose(func() { _ = h.Close() })
	return addr
}

// misbehave plays the connection faults that HTTP never sees.
func (s *Server) misbehave(c *conn, f ConnFault) {
	defer c.Close()
	switch f {
	case ConnReset:
		c.reset()
	case ConnSilent:
		_, _ = io.Copy(io.Discard, c)
	case ConnNotTLS:
		_, _ = c.Read(make([]byte, 1024))
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	case ConnRawSettings:
		stream := s.secure(c, "http/1.1")
		_, _ = bufio.NewReader(stream).ReadString('\n')
		_ = writeFrame(stream, frameSettings, 0, 0, nil)
	case ConnH2GoAway, ConnH2Refused, ConnH2Calm, ConnH2ResetMidway:
		_ = speakH2(s.secure(c, "h2"), f)
	}
}

// secure does the server's side of TLS, if the server speaks it, for one ALPN
// protocol.
func (s *Server) secure(c *conn, proto string) net.Conn {
	if s.origin.Plain {
		return c
	}
	cfg := s.tlsConfig(ConnOK)
	cfg.NextProtos = []string{proto}
	return tls.Server(c, cfg)
}

// tlsConfig returns a new configuration with the certificate that f asks for.
func (s *Server) tlsConfig(f ConnFault) *tls.Config {
	cert := s.good
	week := time.Now().Add(7 * 24 * time.Hour)
	switch f {
	case ConnExpiredCert:
		cert = trusted().issue(s.certNames(), time.Now().Add(-time.Hour))
	case ConnWrongHost:
		cert = trusted().issue([]string{"another-host.example"}, week)
	case ConnUnknownCA:
		cert = stranger().issue(s.certNames(), week)
	}
	protos := []string{"http/1.1"}
	if s.origin.HTTP2 {
		protos = []string{"h2", "http/1.1"}
	}
	return &tls.Config{
		Certificates: []tls.Certificate{*cert}, NextProtos: protos, MinVersion: tls.VersionTLS12,
		ClientAuth: s.origin.ClientAuth, ClientCAs: s.net.CertPool(),
	}
}
