package admin

import (
	"context"
	"net"
	"net/http"
	"os/user"
	"strconv"
	"sync"
)

// overSocket reports whether a request came over the unix socket. The permissions of its
// file are the credential there: no token is asked for, and no page in a browser can get
// to it.
func overSocket(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && addr.Network() == "unix"
}

// peerKey is the context's key for what names the user at the other end of a socket.
type peerKey struct{}

// ConnContext is that of the http.Server that serves the plane: with it audit lines name the
// user at the other end of a unix socket, as the kernel knows it.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	socket, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	uid, known := peerUID(socket) // now: the kernel has it from when the peer connected
	return context.WithValue(ctx, peerKey{}, sync.OnceValue(func() string {
		if !known {
			return overUnix
		}
		id := strconv.FormatUint(uint64(uid), 10)
		if u, err := user.LookupId(id); err == nil { // which may ask a server: not before it is wanted
			return u.Username + " (" + overUnix + ")"
		}
		return "uid " + id + " (" + overUnix + ")"
	}))
}

// overUnix is how audit lines call the socket.
const overUnix = "unix socket"

// socketActor names the peer of a request over the socket.
func socketActor(r *http.Request) string {
	if name, ok := r.Context().Value(peerKey{}).(func() string); ok {
		return name()
	}
	return overUnix
}
