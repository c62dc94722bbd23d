package front

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/pullchain/pullchain/internal/keypair"
)

// The listener's limits (docs/faults.md 6).
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second // of a request; a longer answer is not cut by it
	idleTimeout       = 120 * time.Second
	maxHeaderBytes    = 64 << 10 // net/http adds 4 KiB of its own

	// maxStreams is how many requests one HTTP/2 connection may have under way. net/http
	// keeps four times as many that were reset before their turn, with 5 KB each and more:
	// 941,000 resets on a hundred connections took 370 MiB with 100, and 110 with 32, on
	// twelve 122 and 31 (docs/faults.md F56). A client that wants more at once opens another
	// connection, as Go's and curl do.
	maxStreams = 32

	// cutGrace is how long cut answers may take to flush and close in order.
	cutGrace = time.Second
)

// A Server is the listener of the data plane: its time-outs and limits, TLS, and
// a drain at the end. Make one with [NewServer]. There is no write time-out: a
// layer may take hours, and the [Handler] drops clients that do not read.
type Server struct {
	http         *http.Server
	tls          bool
	proxied      func(net.Listener) net.Listener // nil: clients connect themselves
	drainTimeout time.Duration
	grace        time.Duration           // cutGrace
	cut          context.CancelCauseFunc // cancels every request that is under way

	caps   *connCap
	resets *resetLog
}

// NewServer returns a Server for one listener. The config has to be valid; an
// error means that the certificate cannot be read.
func NewServer(c Config, handler http.Handler, log *slog.Logger) (*Server, error) {
	caps := &connCap{
		max:     c.maxConnsPerClient(),
		trusted: trustedProxies(c.TrustedProxies),
		log:     log,
		clients: make(map[string]*clientConns),
	}
	return newServer(c, handler, log, caps, &resetLog{log: log, trusted: caps.trusted})
}

// Beside returns a Server for a further listener, with which the clients' limits of s
// are shared: one address has no more connections for there being two listeners.
func (s *Server) Beside(c Config, handler http.Handler, log *slog.Logger) (*Server, error) {
	return newServer(c, handler, log, s.caps, s.resets)
}

func newServer(c Config, handler http.Handler, log *slog.Logger, caps *connCap, resets *resetLog) (*Server, error) {
	ctx, cut := context.WithCancelCause(context.Background())
	s := &Server{drainTimeout: c.drainTimeout(), grace: cutGrace, cut: cut, caps: caps, resets: resets}
	s.http = &http.Server{
		Handler: handler,
		// "OPTIONS *" is refused like every other OPTIONS.
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		ConnState:                    caps.changed,
		ConnContext:                  resets.count,
		ReadHeaderTimeout:            readHeaderTimeout,
		ReadTimeout:                  readTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		Protocols:                    protocols(c.HTTP2),
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog:                     serverLog(log),
	}
	if c.ProxyProtocol {
		s.proxied = func(ln net.Listener) net.Listener { return newProxiedListener(ln, caps.trusted, log) }
	}
	if c.TLSCert == "" {
		return s, nil
	}
	pair, err := keypair.Load(c.TLSCert, c.TLSKey, func(err error) {
		if err != nil {
			log.Warn("the renewed TLS certificate cannot be used; the old one stays", "error", err.Error())
		} else {
			log.Info("TLS certificate renewed", "file", c.TLSCert)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("tls_cert, tls_key: %w", err)
	}
	s.tls = true
	s.http.TLSConfig = &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Look(), nil },
		// Small records at a connection's start help a browser that can begin with
		// half a page. A client that hashes what it gets gains nothing, and a blob
		// pays for some ninety of them.
		DynamicRecordSizingDisabled: true,
	}
	return s, nil
}

// protocols returns what is spoken: never HTTP/2 without TLS, whose sniffing
// ignores ReadHeaderTimeout (CVE-2026-56853).
func protocols(http2 bool) *http.Protocols {
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetHTTP2(http2)
	return &p
}

// Serve answers the connections of ln until Shutdown, and returns nil then. It
// closes ln. A Server may serve several listeners.
func (s *Server) Serve(ln net.Listener) error {
	if s.proxied != nil {
		ln = s.proxied(ln)
	}
	serve := s.http.Serve
	if s.tls {
		serve = func(ln net.Listener) error { return s.http.ServeTLS(ln, "", "") }
	}
	if err := serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	}
	return nil
}

// Shutdown accepts no more, lets what is under way finish for DrainTimeout or
// until ctx is done, and then cuts it: bodies end short and in order, so clients
// resume elsewhere (docs/faults.md F36). The error says that it had to cut.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.cut(errShutdown)
	drain, cancel := context.WithTimeout(ctx, s.drainTimeout)
	defer cancel()
	err := s.http.Shutdown(drain)
	if err == nil {
		return nil
	}
	s.cut(errShutdown)
	// Not derived from ctx, which may be over: the flush is what clients resume by.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.grace)
	defer cancel()
	if s.http.Shutdown(grace) != nil {
		s.http.Close() // a client that does not read; it loses what is in the way
	}
	return fmt.Errorf("answers were cut short: %w", err)
}

// serverLog gives net/http's own complaints to the log: mostly broken handshakes
// of port scanners, in text that the peer shapes. A panic of a handler is ours.
func serverLog(to *slog.Logger) *log.Logger {
	return log.New(logWriter{to}, "", 0)
}

// A logWriter is where net/http writes its complaints, a line at a time.
type logWriter struct{ log *slog.Logger }

// Write logs one complaint. Handshakes that fail are the daily noise of any open
// port, so those are for debugging only.
func (w logWriter) Write(line []byte) (int, error) {
	level := slog.LevelDebug
	if bytes.Contains(line, []byte("panic")) {
		level = slog.LevelError
	}
	w.log.Log(context.Background(), level, "http server", "text", string(bytes.TrimSpace(line)))
	return len(line), nil
}
