//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

// acceptAll is what container engines take of manifests, about.
const acceptAll = simnet.TypeOCIIndex + ", " + simnet.TypeOCIManifest + ", " + simnet.TypeDockerList + ", " + simnet.TypeDockerManifest

// A call is one finished request.
type call struct {
	at   time.Time // of its end
	took time.Duration
}

// calls is what a server did with small requests in a while.
type calls struct {
	flow
	n   int // those that ended in the measured time
	all int // those before and after, too
	p99 time.Duration
}

func (c calls) perSecond() float64 { return float64(c.n) / c.took.Seconds() }

// cpuPerCall is in microseconds.
func (c calls) cpuPerCall() float64 { return float64(c.server.Microseconds()) / float64(max(c.n, 1)) }

// callFor keeps n connections busy, each with one request after the other, and
// measures d of it. The latencies are those of a server that is as busy as it
// can be.
func (s *server) callFor(ctx context.Context, method, path string, n int, d time.Duration) (calls, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request := []byte(method + " " + path + " HTTP/1.1\r\nHost: " + s.target.addr + "\r\nUser-Agent: bench\r\nAccept: " + acceptAll + "\r\n\r\n")
	done := make([][]call, n)
	var answers atomic.Int64
	failed := make(chan error, n)
	var callers sync.WaitGroup
	for i := range n {
		callers.Go(func() {
			var err error
			if done[i], err = s.target.callUntil(ctx, request, method == "HEAD", &answers); err != nil {
				failed <- err
			}
		})
	}
	var began time.Time
	f, err := s.window(ctx, d, func() int64 { // is asked at both ends
		if began.IsZero() {
			began = time.Now()
		}
		return answers.Load()
	}, failed)
	cancel()
	callers.Wait()
	select {
	case failure := <-failed:
		return calls{}, fmt.Errorf("%s: %s %s: %w", s.name, method, path, failure)
	default:
	}
	return countCalls(f, done, began), err
}

// countCalls counts the calls that ended while f was measured.
func countCalls(f flow, done [][]call, began time.Time) calls {
	var took []time.Duration
	all := 0
	for _, of := range done {
		all += len(of)
		for _, c := range of {
			// A call that began before the time and ended in it counts whole, as
			// one at the other end does not: over thousands of them that evens out.
			if since := c.at.Sub(began); since >= 0 && since < f.took {
				took = append(took, c.took)
			}
		}
	}
	return calls{flow: f, n: len(took), all: all, p99: percentile(took, 0.99)}
}

// callUntil sends the request over one connection until ctx is done, and counts
// the answers.
func (t target) callUntil(ctx context.Context, request []byte, head bool, answers *atomic.Int64) ([]call, error) {
	conn, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var done []call
	buf := make([]byte, 64<<10)
	for began := time.Now(); ; {
		if _, err = conn.Write(request); err != nil {
			break
		}
		if err = readAnswer(conn, buf, head); err != nil {
			break
		}
		now := time.Now()
		done = append(done, call{at: now, took: now.Sub(began)})
		began = now
		answers.Add(1)
	}
	// The end of the load closes the connection under a request: that is no
	// failure.
	if ctx.Err() != nil {
		return done, nil
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("connection closed after %d requests: %w", len(done), err)
	}
	return done, err
}

// readAnswer reads one answer that fits buf, and nothing past it: requests are
// not pipelined.
func readAnswer(conn net.Conn, buf []byte, head bool) error {
	h, n, err := readHead(conn, buf)
	if err == nil {
		err = h.wantOK()
	}
	if err != nil || head {
		return err
	}
	// The body is thrown away where it lies: the next answer overwrites it.
	for left := h.size + int(h.length) - n; left > 0; {
		m, err := conn.Read(buf)
		if err != nil {
			return err
		}
		left -= m
	}
	return nil
}
