package front

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Resets of HTTP/2 streams cost a client two frames and us a request each, of which
// net/http has up to five times its streams under way or waiting. A connection that has
// reset so many more requests than it has let be answered is closed: the client may make
// another, with its handshake (CVE-2023-44487, docs/faults.md F56). A request of which a
// byte has come is not counted, for containerd ends those of its chunks so.
const maxResets = 200

// A resetLog is told of the resets of all connections of a listener.
type resetLog struct {
	log     *slog.Logger
	trusted trustedProxies // their connections carry the requests of many clients, and have no count

	mu   sync.Mutex
	told time.Time
}

// A resetCount is that of one connection. The zero value has none.
type resetCount struct {
	conn net.Conn
	all  *resetLog

	mu sync.Mutex
	n  int
}

type resetKey struct{}

// count is the ConnContext hook: each connection of a client has a count of its own.
func (l *resetLog) count(ctx context.Context, conn net.Conn) context.Context {
	if addr := addrOf(conn.RemoteAddr().String()); addr.IsValid() && l.trusted.contains(addr) {
		return ctx
	}
	return context.WithValue(ctx, resetKey{}, &resetCount{conn: conn, all: l})
}

// over takes note of the end of a request: reset says that the client has ended its stream
// before it had a byte.
func (c *resetCount) over(reset bool) {
	c.mu.Lock()
	if reset {
		c.n++
	} else {
		c.n = max(c.n-1, 0)
	}
	tooMany := c.n > maxResets
	c.mu.Unlock()
	if tooMany {
		c.all.tell(c.conn.RemoteAddr())
		c.conn.Close()
	}
}

// tell has a line for the log, one a minute at most.
func (l *resetLog) tell(addr net.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.told) >= toldEvery {
		l.told = now
		l.log.Warn("connection closed: the client resets its requests", "addr", addrOf(addr.String()).String(), "max", maxResets)
	}
}

// isReset reports whether a stream has been reset before its turn came, and takes note of
// it: all that is done for it costs others.
func isReset(r *http.Request) bool {
	if r.ProtoMajor != 2 || r.Context().Err() == nil {
		return false
	}
	if c, ok := r.Context().Value(resetKey{}).(*resetCount); ok {
		c.over(true)
	}
	return true
}

// noteReset takes note of how a request over HTTP/2 ended.
func (x *exchange) noteReset() {
	if x.r.ProtoMajor != 2 {
		return
	}
	if c, ok := x.r.Context().Value(resetKey{}).(*resetCount); ok {
		c.over(x.r.Context().Err() != nil && x.rec.bytes == 0 && !x.cutShort())
	}
}
