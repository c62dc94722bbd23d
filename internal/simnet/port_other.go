//go:build !unix

package simnet

import (
	"io"
	"net"
)

// holdPort does nothing here: the port may go to another process while it is
// closed, which Mend then reports.
func holdPort(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// dropSYNs listens and never accepts: a dial succeeds and no answer comes.
func dropSYNs(addr string) (io.Closer, error) { return net.Listen("tcp", addr) }
