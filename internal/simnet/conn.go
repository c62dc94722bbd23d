package simnet

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// A conn is a client's connection to a server: it leaves the server's books
// when it is closed, it can be delayed like a distant peer, and it paces
// throttled answers, however many streams it carries.
type conn struct {
	net.Conn
	server *Server
	fault  ConnFault
	delay  time.Duration // before the first byte is read: handshakes' round trips
	once   sync.Once     // of delay

	mu   sync.Mutex
	next time.Time // when the pace allows more bytes
}

// Read waits once for what the handshakes of a distant peer would take.
func (c *conn) Read(p []byte) (int, error) {
	c.once.Do(func() { sleep(c.server.net.ctx, c.delay) })
	return c.Conn.Read(p)
}

func (c *conn) Close() error {
	c.server.forget(c)
	return c.Conn.Close()
}

// reset closes the connection with a TCP reset in place of a FIN. What the
// kernel has not sent yet is lost, as with a real reset.
func (c *conn) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// pace waits until n more bytes fit a rate in bytes per second. It returns
// false when ctx ended first.
func (c *conn) pace(ctx context.Context, n int, rate int64) bool {
	c.mu.Lock()
	now := time.Now()
	if c.next.Before(now) {
		c.next = now
	}
	c.next = c.next.Add(time.Duration(int64(n) * int64(time.Second) / rate))
	wait := c.next.Sub(now)
	c.mu.Unlock()
	return sleep(ctx, wait)
}

// sleep waits for d or the end of ctx; false means the latter.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// connKey is the context's key for the conn.
type connKey struct{}

// withConn puts the conn under c (TLS or not) into the context of its requests.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

func connOf(r *http.Request) *conn {
	c, _ := r.Context().Value(connKey{}).(*conn)
	return c
}
