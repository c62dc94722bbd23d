package egress

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestF45_DeadHTTP2ConnectionIsNoticed: a connection that went dead without a
// word fails its requests after a ping's 15 s and 10 s, not when TCP gives up.
func TestF45_DeadHTTP2ConnectionIsNoticed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newAuthority(t)
		ln := ca.servePipe(t, "registry.example", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) })
		transport, err := NewTransport(TransportConfig{RootCAs: ca.pool, HeaderTimeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer transport.CloseIdleConnections()
		dead := new(atomic.Bool)
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			return &mortalConn{Conn: ln.dial(), dead: dead}, nil
		}
		if got := get(t, transport, "https://registry.example/"); got != "HTTP/2.0" {
			t.Fatalf("spoke %s; want HTTP/2.0", got)
		}
		dead.Store(true)
		begin := time.Now()
		if _, err := tryGet(t.Context(), transport, "https://registry.example/"); err == nil {
			t.Fatal("a dead connection answered")
		}
		if took := time.Since(begin); took > sendPingTimeout+pingTimeout {
			t.Errorf("noticed after %v; want 25 s at most", took)
		}
	})
}

// A mortalConn swallows what is written once it is dead, so that nothing comes
// back either.
type mortalConn struct {
	net.Conn
	dead *atomic.Bool
}

func (c *mortalConn) Write(b []byte) (int, error) {
	if c.dead.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// servePipe runs handler as name's https server at the far end of pipes.
func (a *authority) servePipe(t *testing.T, name string, handler http.HandlerFunc) *pipeListener {
	t.Helper()
	ln := &pipeListener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	server := &http.Server{
		Handler:   handler,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{a.issue(t, name, time.Now().Add(time.Hour))}},
		ErrorLog:  quiet(),
	}
	go server.ServeTLS(ln, "", "")
	t.Cleanup(func() { server.Close() })
	return ln
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) dial() net.Conn {
	client, far := net.Pipe()
	l.conns <- far
	return client
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	close(l.closed)
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }
