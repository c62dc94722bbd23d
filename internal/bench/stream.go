//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// pullAway pulls a blob and throws it away inside the kernel: of an encrypted
// answer only the first record is decrypted. It costs next to nothing, so that
// what is measured is the server. count is told of all bytes as they come, with
// those of the framing. It returns the size of the blob.
func pullAway(ctx context.Context, t target, path string, count func(int)) (int64, error) {
	conn, err := t.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	request := "GET " + path + " HTTP/1.1\r\nHost: " + t.addr + "\r\nConnection: close\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		return 0, err
	}
	head, n, err := readHead(conn, make([]byte, 16<<10))
	if err == nil {
		err = head.wantOK()
	}
	if err != nil {
		return 0, err
	}
	count(n - head.size)
	got := int64(n - head.size)
	err = drain(tcpOf(conn), func(n int) { got += int64(n); count(n) })
	// crypto/tls has read a little more than it has handed out.
	if slack := int64(64 << 10); err == nil && got+slack < head.length {
		err = fmt.Errorf("%d of %d bytes came", got, head.length)
	}
	return head.length, err
}

// tcpOf is the TCP connection below TLS, or conn itself.
func tcpOf(conn net.Conn) *net.TCPConn {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	return conn.(*net.TCPConn)
}

// wakeEvery is how many bytes are to lie in the socket before the client is
// woken: each wake-up takes time from the server.
const wakeEvery = 256 << 10

// drain discards what comes until the end of the stream. With MSG_TRUNC the
// kernel does not even copy it (tcp(7)).
func drain(conn *net.TCPConn, count func(int)) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	if err := raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, wakeEvery)
	}); err != nil {
		return err
	}
	buf := make([]byte, 1<<20) // its length is what counts, nothing is written to it
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, _, err := syscall.Recvfrom(int(fd), buf, syscall.MSG_TRUNC)
			switch {
			case errors.Is(err, syscall.EINTR):
			case errors.Is(err, syscall.EAGAIN):
				return false
			case err != nil || n == 0:
				failed = err
				return true
			default:
				count(n)
			}
		}
	})
	return errors.Join(err, failed)
}

// A flow is what went through a server in a while.
type flow struct {
	bytes  int64
	took   time.Duration
	server time.Duration // CPU time of the server
	client time.Duration // CPU time of this process
}

func (f flow) rate() float64     { return float64(f.bytes) / 1e6 / f.took.Seconds() }
func (f flow) cpuPerGB() float64 { return f.server.Seconds() / (float64(f.bytes) / 1e9) }

// share is the client's part of the CPU time, in percent.
func (f flow) share() float64 {
	return 100 * f.client.Seconds() / max(f.client+f.server, time.Nanosecond).Seconds()
}

const (
	// warmUp is how long a load runs before it is measured.
	warmUp = 200 * time.Millisecond

	// longest is how long anything is waited for that should come at once.
	longest = time.Minute
)

// streamFor keeps n streams of one blob running and measures d of it.
func (s *server) streamFor(ctx context.Context, path string, n int, d time.Duration) (flow, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var bytes atomic.Int64
	var streams sync.WaitGroup
	failed := make(chan error, n)
	for range n {
		streams.Go(func() {
			for ctx.Err() == nil {
				if _, err := pullAway(ctx, s.target, path, func(n int) { bytes.Add(int64(n)) }); err != nil && ctx.Err() == nil {
					failed <- err
					return
				}
			}
		})
	}
	f, err := s.window(ctx, d, bytes.Load, failed)
	cancel()
	streams.Wait()
	select {
	case failure := <-failed:
		return f, fmt.Errorf("%s: %w", s.name, failure)
	default:
		return f, err
	}
}

// window lets the load warm up and then measures d of it, or as much more as it
// takes for something to come: the machine may be busy. bytes tells what has come
// so far.
func (s *server) window(ctx context.Context, d time.Duration, bytes func() int64, failed <-chan error) (flow, error) {
	if err := wait(ctx, warmUp); err != nil {
		return flow{}, err
	}
	// The load runs already: a window in its midst leaves out the connections'
	// beginnings and ends.
	before, err := treeCPU(s.proc.pid())
	if err != nil {
		return flow{}, err
	}
	began, had, client := time.Now(), bytes(), ownCPU()
	if err := wait(ctx, d); err != nil {
		return flow{}, err
	}
	for bytes() == had && len(failed) == 0 && time.Since(began) < d+longest {
		if err := wait(ctx, 10*time.Millisecond); err != nil {
			return flow{}, err
		}
	}
	f := flow{bytes: bytes() - had, took: time.Since(began), client: ownCPU() - client}
	after, err := treeCPU(s.proc.pid())
	f.server = after - before
	return f, err
}

// wait waits for d, unless the run is interrupted.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
