package simnet

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// Origin configures one server.
type Origin struct {
	Name    string   // in the ledger; must be unique in its Net
	Hosts   []string // pretend host names; none means Name + ".sim"
	Addr    string   // "host:port" to listen on; "" is any port of Config.Host
	Plain   bool     // plain HTTP, also when Config.Plain is false
	HTTP2   bool     // offer h2, also when Config.HTTP2 is false
	ByName  bool     // PublicURL, realms and redirects use Hosts[0], not the address
	Handler http.Handler

	// ClientAuth is whether it asks its clients for a certificate, which the ledger then has, and wants one that
	// [Net.ClientPEM] has made.
	ClientAuth tls.ClientAuthType

	// SendBuffer is the size in bytes of each connection's SO_SNDBUF: it bounds
	// what is on its way to a client that does not read. 0 is the system's.
	SendBuffer int
}

// A Server is one origin: a listener with its own certificate, connections
// and faults. All methods are safe for concurrent use and work while the
// server runs.
type Server struct {
	net     *Net
	name    string
	origin  Origin
	addr    string
	handler http.Handler
	raw     func(*conn) // when set, speaks on connections in place of HTTP
	srv     *http.Server
	feed    chan net.Conn
	good    *tls.Certificate

	mu      sync.Mutex
	ln      net.Listener
	holder  io.Closer // keeps the port while ln is closed
	broken  ConnFault
	left    int // connections that broken still applies to; -1 is all
	rtt     time.Duration
	conns   map[*conn]struct{}
	faults  []*armed
	stopped bool
}

// AddOrigin starts a server of the caller's own making, with the ledger and
// the faults of the others.
func (n *Net) AddOrigin(o Origin) *Server { return n.start(o, nil) }

// start listens and serves. A nil raw means HTTP.
func (n *Net) start(o Origin, raw func(*conn)) *Server {
	if len(o.Hosts) == 0 {
		o.Hosts = []string{o.Name + ".sim"}
	}
	o.Plain = o.Plain || n.cfg.Plain || raw != nil
	o.HTTP2 = (o.HTTP2 || n.cfg.HTTP2) && !o.Plain
	addr := o.Addr
	if addr == "" {
		addr = net.JoinHostPort(n.cfg.Host, "0")
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		panic(fmt.Sprintf("simnet: %s cannot listen on %s: %v", o.Name, addr, err))
	}
	s := &Server{
		net: n, name: o.Name, origin: o, handler: o.Handler, raw: raw,
		addr: ln.Addr().String(), ln: ln, left: -1,
		feed: make(chan net.Conn), conns: map[*conn]struct{}{},
	}
	if !o.Plain {
		s.good = trusted().issue(s.certNames(), time.Now().Add(60*24*time.Hour))
	}
	n.join(s, o.Hosts)
	s.serveHTTP()
	n.wg.Go(func() { s.acceptFrom(ln) })
	return s
}

// certNames are the names that the server's certificate is good for.
func (s *Server) certNames() []string {
	host, _, _ := net.SplitHostPort(s.addr)
	return append([]string{host, "127.0.0.1", "::1", "localhost"}, s.origin.Hosts...)
}

// serveHTTP starts the HTTP server, which takes its connections from feed, so
// that it lives on while the listener is closed and opened again.
func (s *Server) serveHTTP() {
	s.srv = &http.Server{
		Handler:           http.HandlerFunc(s.answer),
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnContext:       withConn,
		ReadHeaderTimeout: time.Minute,
		MaxHeaderBytes:    1 << 20,
	}
	if !s.origin.Plain {
		s.srv.TLSConfig = s.tlsConfig(ConnOK)
	}
	s.net.wg.Go(func() { _ = s.srv.Serve(&feedListener{server: s}) })
}

// A feedListener hands over the connections that acceptFrom has let in.
type feedListener struct{ server *Server }

func (l *feedListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.server.feed:
		return c, nil
	case <-l.server.net.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (l *feedListener) Close() error   { return nil }
func (l *feedListener) Addr() net.Addr { return &net.TCPAddr{} }

// acceptFrom lets connections in until ln is closed.
func (s *Server) acceptFrom(ln net.Listener) {
	for {
		tcp, err := ln.Accept()
		if err != nil {
			return
		}
		s.net.ledger.accepted(s.name)
		c, fault := s.admit(tcp)
		switch {
		case c == nil:
			_ = tcp.Close()
		case fault.takesOver():
			s.net.wg.Go(func() { s.misbehave(c, fault) })
		case s.raw != nil:
			s.net.wg.Go(func() { s.raw(c) })
		default:
			s.handOver(c, fault)
		}
	}
}

// admit enters a new connection in the books and says what is wrong with it.
// It returns nil once the server has stopped.
func (s *Server) admit(tcp net.Conn) (*conn, ConnFault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, ConnOK
	}
	if t, ok := tcp.(*net.TCPConn); ok && s.origin.SendBuffer > 0 {
		_ = t.SetWriteBuffer(s.origin.SendBuffer)
	}
	c := &conn{Conn: tcp, server: s, delay: s.rtt}
	if !s.origin.Plain {
		c.delay = 2 * s.rtt // one for TCP's handshake, one for TLS 1.3's
	}
	s.conns[c] = struct{}{}
	if s.left != 0 {
		c.fault = s.broken
	}
	if s.left > 0 {
		s.left--
	}
	return c, c.fault
}

// handOver gives c to the HTTP server.
func (s *Server) handOver(c *conn, fault ConnFault) {
	var whole net.Conn = c
	if !s.origin.Plain {
		whole = tls.Server(c, s.tlsConfig(fault))
	}
	select {
	case s.feed <- whole:
	case <-s.net.ctx.Done():
		_ = c.Close()
	}
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// stop stops the server for good.
func (s *Server) stop() {
	s.mu.Lock()
	s.stopped = true
	s.closeListenerLocked()
	if s.holder != nil {
		_ = s.holder.Close()
		s.holder = nil
	}
	for _, a := range s.faults {
		a.lift()
	}
	s.mu.Unlock()
	s.CloseConnections()
	_ = s.srv.Close()
}

// closeListenerLocked makes new connections be refused.
func (s *Server) closeListenerLocked() {
	if s.ln != nil {
		_ = s.ln.Close()
		s.ln = nil
	}
}

// CloseConnections closes all open connections, as a server that dies does.
func (s *Server) CloseConnections() {
	s.closeConnections(func(*conn) bool { return true })
}

// closeConnections closes those that which selects. They are collected first: Close
// takes the lock that guards the set.
func (s *Server) closeConnections(which func(*conn) bool) {
	var open []*conn
	s.mu.Lock()
	for c := range s.conns {
		if which(c) {
			open = append(open, c)
		}
	}
	s.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

// Name returns the server's name in the ledger.
func (s *Server) Name() string { return s.name }

// Addr returns the address that the server listens on, as in
// "127.0.0.1:41231". It stays the same through [Server.Break] and
// [Server.Mend].
func (s *Server) Addr() string { return s.addr }

// URL returns the server's address as a URL without a trailing slash.
func (s *Server) URL() string { return s.scheme() + "://" + s.addr }

// NameURL returns the URL with the pretend host name, for clients that dial
// through [Net.Dial] or a simulated egress proxy.
func (s *Server) NameURL() string { return s.scheme() + "://" + s.origin.Hosts[0] }

// PublicURL is NameURL for a server with Origin.ByName, and URL otherwise:
// what other servers put into realms and redirects.
func (s *Server) PublicURL() string {
	if s.origin.ByName {
		return s.NameURL()
	}
	return s.URL()
}

func (s *Server) scheme() string {
	if s.origin.Plain {
		return "http"
	}
	return "https"
}

// SetRTT moves the server away: each new connection costs a round trip for
// TCP and one for TLS, and each request one more. 0 brings it back.
func (s *Server) SetRTT(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rtt = d
}

// answer is the handler of every request to this server: it keeps the ledger
// and applies the faults around the real handler.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	rt := routeOf(r)
	rec := s.net.ledger.open(s.entry(r, rt))
	defer rec.close()
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	defer context.AfterFunc(s.net.ctx, stop)()
	r = r.WithContext(ctx)

	s.mu.Lock()
	rtt := s.rtt
	s.mu.Unlock()
	sleep(ctx, rtt)
	fw := &writer{ResponseWriter: w, req: r, conn: connOf(r), rec: rec, faults: s.take(rt, r), limit: -1}
	fw.before()
	if ctx.Err() != nil { // the client left, or the Net was closed
		rec.cut()
		panic(http.ErrAbortHandler)
	}
	fw.handler(s.handler).ServeHTTP(fw, r)
	fw.finish()
}

// entry is what the ledger gets of a request. The headers are copied, since faults
// change them.
func (s *Server) entry(r *http.Request, rt route) *Entry {
	e := &Entry{
		Server: s.name, Method: r.Method, Host: r.Host, Path: r.URL.Path, Query: r.URL.RawQuery,
		Class: rt.class, Repo: rt.repo, Ref: rt.ref,
		Header: r.Header.Clone(), Authorization: r.Header.Get("Authorization"), Range: r.Header.Get("Range"),
		Remote: r.RemoteAddr, Proto: r.Proto,
	}
	if auth := r.Header.Get("Proxy-Authorization"); auth != "" {
		e.Authorization = auth
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		e.Cert = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	return e
}
