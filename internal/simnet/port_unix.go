//go:build unix

package simnet

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// holdPort binds addr without listening: dials are refused, and no other
// process is given the port meanwhile.
func holdPort(addr string) (io.Closer, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	family, sa := syscall.AF_INET, syscall.Sockaddr(&syscall.SockaddrInet4{Port: int(ap.Port()), Addr: as4(ap.Addr())})
	if ap.Addr().Is6() {
		family, sa = syscall.AF_INET6, &syscall.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
	}
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	hold := os.NewFile(uintptr(fd), "held port")
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return nil, closing(hold, os.NewSyscallError("setsockopt", err))
	}
	if err := syscall.Bind(fd, sa); err != nil {
		return nil, closing(hold, os.NewSyscallError("bind", err))
	}
	return hold, nil
}

// closing closes c and returns err.
func closing(c io.Closer, err error) error {
	_ = c.Close()
	return err
}

// dropSYNs listens on addr with a backlog of 0 and fills it. Linux then drops
// further SYNs (tcp_conn_request, "accept queue is full"), and so a dial hangs.
func dropSYNs(addr string) (io.Closer, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	hole := &blackhole{ln: ln}
	rc, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		return nil, closing(hole, err)
	}
	var lerr error
	if err := rc.Control(func(fd uintptr) { lerr = syscall.Listen(int(fd), 0) }); err != nil {
		return nil, closing(hole, err)
	}
	if lerr != nil {
		return nil, closing(hole, os.NewSyscallError("listen", lerr))
	}
	// The first one has to come in, however slow the machine is: it fills the
	// queue of Linux. What is dropped after it shows only by its silence.
	for patience := time.Minute; len(hole.fill) < 16; patience = 50 * time.Millisecond {
		c, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			return hole, nil
		}
		hole.fill = append(hole.fill, c)
	}
	return nil, closing(hole, fmt.Errorf("the accept queue of %s does not fill up", addr))
}

// A blackhole is a listener with the connections that fill its queue.
type blackhole struct {
	ln   net.Listener
	fill []net.Conn
}

// Close frees the port. The listener goes first, or a connection that is closed
// would make room in its queue for another.
func (b *blackhole) Close() error {
	err := b.ln.Close()
	for _, c := range b.fill {
		_ = c.Close()
	}
	return err
}

// as4 is Addr.As4 for what may be IPv6, of which the answer is not used.
func as4(a netip.Addr) [4]byte {
	if a = a.Unmap(); a.Is4() {
		return a.As4()
	}
	return [4]byte{}
}
