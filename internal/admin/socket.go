package admin

import (
	"net"
	"net/http"
)

// overSocket reports whether a request came over the unix socket. The permissions of its
// file are the credential there: no token is asked for, and no page in a browser can get
// to it.
func overSocket(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && addr.Network() == "unix"
}
