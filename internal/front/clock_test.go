package front

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

// pipeListener hands out in-memory connections, so that a whole server runs on
// the clock of a synctest bubble.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{make(chan net.Conn), make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return client
}

// inBubble runs f against a server on fake time.
func inBubble(t *testing.T, c Config, fetcher pullchain.Fetcher, f func(t *testing.T, dial func() net.Conn, logs *logLines)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, logs := newHandler(t, c, fetcher)
		s, err := NewServer(c, h, h.log)
		if err != nil {
			t.Fatal(err)
		}
		ln := newPipeListener()
		done := make(chan error, 1)
		go func() { done <- s.Serve(ln) }()
		f(t, ln.dial, logs)
		s.Shutdown(t.Context())
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// F32: a client that takes less than 1 MiB a minute is dropped; its fetch is
// canceled and its body closed.
func TestF32SlowClientIsDropped(t *testing.T) {
	closed := make(chan time.Time, 1)
	f := &fakeFetcher{fetch: func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp := blobResponse(req)
		body := bodyOf(layer, copySize, io.EOF)
		body.closed = func() { closed <- time.Now() }
		resp.Body = body
		return resp, nil
	}}
	inBubble(t, Config{}, f, func(t *testing.T, dial func() net.Conn, logs *logLines) {
		start := time.Now()
		conn := dial()
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", blobPath)
		// 10 KiB/s: less than the least.
		total, err := 0, error(nil)
		for buf := make([]byte, 10<<10); err == nil; {
			var n int
			n, err = io.ReadFull(conn, buf)
			total += n
			time.Sleep(time.Second)
		}
		if took := (<-closed).Sub(start); took < 55*time.Second || took > 65*time.Second {
			t.Errorf("dropped after %s", took)
		}
		if total >= len(layer) {
			t.Errorf("all %d bytes came", total)
		}
		synctest.Wait()
		if line := logs.access(t)[0]; line["level"] != "DEBUG" || line["status"] != 499.0 {
			t.Errorf("log %v", line)
		}
	})
}

// F32: one that is slow but fast enough gets everything, in its own time, and
// past every time-out of the listener.
func TestF32ClientAtItsOwnSpeed(t *testing.T) {
	inBubble(t, Config{}, &fakeFetcher{fetch: healthy}, func(t *testing.T, dial func() net.Conn, _ *logLines) {
		start := time.Now()
		conn := dial()
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", blobPath)
		resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for buf := make([]byte, 20<<10); ; { // 20 KiB/s
			n, err := io.ReadFull(resp.Body, buf)
			total += n
			if err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if total != len(layer) {
			t.Errorf("%d bytes of %d after %s", total, len(layer), time.Since(start))
		}
		if took := time.Since(start); took < 70*time.Second {
			t.Errorf("took only %s: nothing was proved", took)
		}
	})
}

// slowUpstream sends 50 kB of the layer each 70 s.
func slowUpstream() *fakeFetcher {
	return &fakeFetcher{fetch: func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp := blobResponse(req)
		at := 0
		resp.Body = &fakeBody{read: func(p []byte) (int, error) {
			if at == len(layer) {
				return 0, io.EOF
			}
			time.Sleep(70 * time.Second)
			n := copy(p, layer[at:min(at+50_000, len(layer))])
			at += n
			return n, nil
		}}
		return resp, nil
	}}
}

// F32: the time that an upstream takes is not held against the client.
func TestF32SlowUpstreamIsNotASlowClient(t *testing.T) {
	inBubble(t, Config{}, slowUpstream(), func(t *testing.T, dial func() net.Conn, _ *logLines) {
		start := time.Now()
		conn := dial()
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", blobPath)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if n != int64(len(layer)) || err != nil {
			t.Errorf("%d bytes, %v after %s", n, err, time.Since(start))
		}
	})
}

// A client that sends its headers byte by byte, and one that sends nothing after
// its first request, lose their connections.
func TestListenerTimeouts(t *testing.T) {
	inBubble(t, Config{}, &fakeFetcher{fetch: healthy}, func(t *testing.T, dial func() net.Conn, _ *logLines) {
		start := time.Now()
		slow := dial()
		defer slow.Close()
		fmt.Fprint(slow, "GET /v2/ HTTP/1.1\r\nHost: loc")
		if _, err := io.ReadAll(slow); err != nil {
			t.Errorf("slow headers: %v", err)
		}
		if took := time.Since(start); took != readHeaderTimeout {
			t.Errorf("slow headers: closed after %s", took)
		}

		start = time.Now()
		idle := dial()
		defer idle.Close()
		fmt.Fprint(idle, "GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if answer, err := io.ReadAll(idle); err != nil || len(answer) == 0 {
			t.Errorf("idle: %d bytes, %v", len(answer), err)
		}
		if took := time.Since(start); took != idleTimeout {
			t.Errorf("idle: closed after %s", took)
		}
	})
}

// askOneServer starts a server with its defaults over fetch, in a bubble, and asks it
// for the layer. done gets what Serve returns.
func askOneServer(t *testing.T, fetch func(context.Context, pullchain.Request) (pullchain.Response, error)) (h *Handler, s *Server, conn net.Conn, done chan error) {
	t.Helper()
	h, _ = newHandler(t, Config{}, &fakeFetcher{fetch: fetch})
	s, err := NewServer(Config{}, h, h.log)
	if err != nil {
		t.Fatal(err)
	}
	ln := newPipeListener()
	done = make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	conn = ln.dial()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", blobPath)
	return h, s, conn, done
}

// F36 on the clock: the default drain is 25 s and then the cut.
func TestF36DrainTakesItsTimeAndNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		_, s, conn, done := askOneServer(t, g.fetch)
		defer conn.Close()
		blob := make(chan got)
		go func() { blob <- readRaw(t, conn) }()
		<-g.half
		start := time.Now()
		if err := s.Shutdown(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(start); took < DefaultDrainTimeout || took > DefaultDrainTimeout+cutGrace {
			t.Errorf("took %s", took)
		}
		if r := <-blob; r.Err != nil || r.Body != string(layer[:len(layer)/2]) {
			t.Errorf("%d bytes, ended with %v", len(r.Body), r.Err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// F36: a client that does not read cannot hold up the end.
func TestF36CutDoesNotWaitForADeadClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, s, conn, done := askOneServer(t, healthy)
		defer conn.Close()
		synctest.Wait() // the answer's first bytes wait for a reader
		start := time.Now()
		if err := s.Shutdown(t.Context()); err == nil {
			t.Error("Shutdown does not say that it cut")
		}
		if took := time.Since(start); took > DefaultDrainTimeout+cutGrace {
			t.Errorf("took %s", took)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := h.InFlight(); n != 0 {
			t.Errorf("%d requests live on", n)
		}
	})
}
