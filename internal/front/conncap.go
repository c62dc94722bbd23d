package front

import (
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// A connCap keeps one client from taking all connections. It watches them as
// http.Server.ConnState rather than by a wrapped listener, so that connections
// stay *net.TCPConn and files can go out by sendfile.
type connCap struct {
	max     int
	trusted trustedProxies // not counted: behind one address are many clients
	log     *slog.Logger

	mu      sync.Mutex
	clients map[string]*clientConns // by address
}

// clientConns is what one address holds. A refused connection counts too, until
// net/http reports its end as it does that of any other.
type clientConns struct {
	open   int
	logged bool // the log has it already, for this run of refusals
}

// changed is the ConnState hook. Of a new connection too many, only the reading
// fails, which then closes it the ordinary way.
func (c *connCap) changed(conn net.Conn, state http.ConnState) {
	if state == http.StateActive || state == http.StateIdle {
		return // each request brings both
	}
	addr := addrOf(conn.RemoteAddr().String())
	if !addr.IsValid() || c.trusted.contains(addr) {
		return
	}
	switch state {
	case http.StateNew:
		ok, tell := c.opened(addr.String())
		if tell {
			c.log.Warn("connections refused: one address has too many", "addr", addr.String(), "max", c.max)
		}
		if !ok {
			conn.Close()
		}
	case http.StateClosed, http.StateHijacked:
		c.closed(addr.String())
	}
}

// opened counts a new connection, and says whether it may stay and whether the log
// should hear of its refusal. The log gets one line for a run of refusals: a line
// for each would let the client that has too many connections fill the disk as
// well.
func (c *connCap) opened(addr string) (ok, tell bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	client := c.clients[addr]
	if client == nil {
		client = &clientConns{}
		c.clients[addr] = client
	}
	client.open++
	if client.open <= c.max {
		return true, false
	}
	tell = !client.logged
	client.logged = true
	return false, tell
}

// closed takes a connection off the count. Only at half of the limit does the next
// refusal get a line again, so that a client that hovers at the limit does not get
// one for each connection that comes and goes. An address without connections is
// forgotten: there is no other bound on how many addresses the map holds.
func (c *connCap) closed(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	client := c.clients[addr]
	if client == nil {
		return
	}
	if client.open--; client.open <= c.max/2 {
		client.logged = false
	}
	if client.open <= 0 {
		delete(c.clients, addr)
	}
}
