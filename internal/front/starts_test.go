package front

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
)

func TestChunkOfStarts(t *testing.T) {
	t.Parallel()
	var s starts
	key := startsKey{netip.MustParseAddr("127.0.0.1"), digest.FromString("blob")}
	other := startsKey{netip.MustParseAddr("127.0.0.2"), key.digest}
	var leave []func()
	for _, step := range []struct {
		key  startsKey
		from int64
		want int64 // of key
	}{
		{key, 0, 0}, {other, 5, 0}, {key, 24, 24}, {key, 8, 8}, {key, 8, 8}, {key, 16, 8}, {key, 100, 8},
	} {
		leave = append(leave, s.enter(step.key, step.from))
		if got := s.chunk(key); got != step.want {
			t.Errorf("after %d: chunks of %d, want %d", step.from, got, step.want)
		}
	}
	for i := range int64(2 * maxStarts) {
		leave = append(leave, s.enter(key, 1000+i))
	}
	if n := len(s.m[key].at); n > maxStarts {
		t.Errorf("%d starts are kept", n)
	}
	for _, f := range leave {
		f()
	}
	if len(s.m) != 0 {
		t.Errorf("%d blobs are left", len(s.m))
	}
}

const chunkMiB = 1 << 20

// chunkServer serves a blob of 8 MiB from a file. Each body, when it is closed, tells how
// much of it was sent.
func chunkServer(t *testing.T, hangUp time.Duration) (s *httptest.Server, content []byte, sent chan int64) {
	t.Helper()
	content = bytes.Repeat([]byte("0123456789abcdef"), 8*chunkMiB/16)
	path := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	sent = make(chan int64, 2)
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
		file, err := os.Open(path)
		if err != nil {
			return pullchain.Response{}, err
		}
		size := int64(len(content))
		part := pullchain.Range{From: req.Range.From, To: size}
		body := &diskBody{from: part.From, file: file, ready: upTo(size - part.From)}
		body.closed = func() { sent <- body.total() }
		return pullchain.Response{Status: http.StatusPartialContent, Range: part, Size: size, Digest: req.Digest, Body: body}, nil
	}})
	h.hangUp = hangUp
	return serve(t, h), content, sent
}

// askFrom sends an open-ended request over a connection of its own.
func askFrom(t *testing.T, s *httptest.Server, from int) (net.Conn, *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+blobPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return conn, resp
}

// A client that fetches a blob in chunks, and hangs up at the end of each, is sent no more
// than that: what lies in the sockets then is thrown away.
func TestNothingIsSentBeyondAChunk(t *testing.T) {
	t.Parallel()
	s, content, sent := chunkServer(t, time.Hour)
	second, _ := askFrom(t, s, chunkMiB)
	first, resp := askFrom(t, s, 0)
	got := make([]byte, chunkMiB)
	if _, err := io.ReadFull(resp.Body, got); err != nil || !bytes.Equal(got, content[:chunkMiB]) {
		t.Fatalf("the chunk is wrong: %v", err)
	}
	first.Close()
	if n := <-sent; n != chunkMiB {
		t.Errorf("%d bytes were sent for a chunk of %d", n, chunkMiB)
	}
	second.Close()
	<-sent
}

// A client that wants the rest after all gets it.
func TestWhatIsBeyondAChunkIsSent(t *testing.T) {
	t.Parallel()
	s, content, sent := chunkServer(t, time.Millisecond)
	second, _ := askFrom(t, s, chunkMiB)
	_, resp := askFrom(t, s, 0)
	if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes of %d, %v", len(got), len(content), err)
	}
	<-sent
	second.Close()
	<-sent
}
