package front

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
)

// bodyOf returns a body that gives data in pieces and then err.
func bodyOf(data []byte, piece int, err error) *fakeBody {
	return &fakeBody{read: func(p []byte) (int, error) {
		if len(data) == 0 {
			return 0, err
		}
		n := copy(p[:min(piece, len(p))], data)
		data = data[n:]
		return n, nil
	}}
}

// blobWith serves the layer's headers and another body.
func blobWith(size int64, body func() pullchain.Body) *fakeFetcher {
	return &fakeFetcher{fetch: func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp := blobResponse(req)
		resp.Size, resp.Body = size, body()
		return resp, nil
	}}
}

var errCut = &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeTruncated, Upstream: "docker-hub", Err: io.ErrUnexpectedEOF}

// F18: what every upstream failed to finish ends short, by FIN and never by RST,
// with every byte that there was and nothing after it: that is what containerd
// and podman resume from (docs/protocol.md 4.3).
func TestF18CutBodyEndsShortByFIN(t *testing.T) {
	t.Parallel()
	const cut = 700_001 // no multiple of any buffer
	for _, size := range []int64{int64(len(layer)), -1} {
		t.Run(fmt.Sprint("size ", size), func(t *testing.T) {
			t.Parallel()
			h, logs := newHandler(t, Config{}, blobWith(size, func() pullchain.Body { return bodyOf(layer[:cut], 10_000, errCut) }))
			s := serve(t, h)

			raw := rawRequest(t, s.Listener.Addr().String(), "GET "+blobPath+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if raw.Err != nil {
				t.Errorf("the connection ended with %v, want an orderly close", raw.Err)
			}
			if size < 0 && strings.HasSuffix(raw.Body, "0\r\n\r\n") {
				t.Error("the chunked body is complete")
			}
			if size > 0 && raw.Body != string(layer[:cut]) {
				t.Errorf("%d bytes came, want exactly the %d that there were", len(raw.Body), cut)
			}
			// And as Go clients see it; containerd wants this very error.
			g := do(t, s.Client(), "GET", s.URL+blobPath)
			if g.Err != io.ErrUnexpectedEOF || g.Body != string(layer[:cut]) {
				t.Errorf("%d bytes, error %v", len(g.Body), g.Err)
			}
			s.Close()
			line := logs.access(t)[0]
			if line["level"] != "WARN" || line["status"] != 200.0 || line["bytes"] != float64(cut) || line["code"] != "truncated" {
				t.Errorf("log %v", line)
			}
		})
	}
}

// The same over TLS: the records end with close_notify, in order.
func TestF18CutBodyOverTLS(t *testing.T) {
	t.Parallel()
	const cut = 50_000
	h, _ := newHandler(t, Config{}, blobWith(int64(len(layer)), func() pullchain.Body { return bodyOf(layer[:cut], 10_000, errCut) }))
	s := httptest.NewTLSServer(h)
	defer s.Close()
	if g := rawBlobOverTLS(t, s); g.Err != nil || g.Body != string(layer[:cut]) {
		t.Errorf("%d bytes, ended with %v", len(g.Body), g.Err)
	}
}

// F20: never a complete wrong blob, however the news comes.
func TestF20NeverACompleteWrongBlob(t *testing.T) {
	t.Parallel()
	wrong := &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeDigestMismatch, Upstream: "mirror"}
	small := layer[:1000]
	once := func(data []byte, err error) pullchain.Body { // data and error in one Read
		return &fakeBody{read: func(p []byte) (int, error) {
			n := copy(p, data)
			if data = data[n:]; len(data) > 0 {
				return n, nil
			}
			return n, err
		}}
	}
	tests := []struct {
		name string
		size int64
		body func() pullchain.Body
	}{
		{"large, at the end", int64(len(layer)), func() pullchain.Body { return bodyOf(layer, copySize, wrong) }},
		{"large, with the last bytes", int64(len(layer)), func() pullchain.Body { return once(layer, wrong) }},
		{"large, not Corrupt but not clean", int64(len(layer)), func() pullchain.Body { return once(layer, errCut) }},
		{"large, of unknown size", -1, func() pullchain.Body { return bodyOf(layer, copySize, wrong) }},
		{"large, of unknown size, with the last bytes", -1, func() pullchain.Body { return once(layer, wrong) }},
		{"large, too long", int64(len(layer)) - 1, func() pullchain.Body { return bodyOf(layer, copySize, io.EOF) }},
		{"large, too long by a whole read", int64(copySize), func() pullchain.Body { return bodyOf(layer, copySize, io.EOF) }},
		{"large, too short", int64(len(layer)) + 1, func() pullchain.Body { return bodyOf(layer, copySize, io.EOF) }},
		{"small, at the end", 1000, func() pullchain.Body { return bodyOf(small, copySize, wrong) }},
		{"small, with the last bytes", 1000, func() pullchain.Body { return once(small, wrong) }},
		{"small, too long", 999, func() pullchain.Body { return bodyOf(small, copySize, io.EOF) }},
		{"small, in two pieces", 1000, func() pullchain.Body { return bodyOf(small, 600, wrong) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			closed := 0
			h, logs := newHandler(t, Config{}, blobWith(tt.size, func() pullchain.Body {
				body := tt.body().(*fakeBody)
				body.closed = func() { closed++ }
				return body
			}))
			s := serve(t, h)
			g := do(t, s.Client(), "GET", s.URL+blobPath)
			s.Close()
			switch {
			case g.Status == http.StatusOK && g.Err == nil:
				t.Errorf("a whole answer of %d bytes", len(g.Body))
			case g.Status != http.StatusOK: // nothing had been sent: said in words
				if e := decodeError(t, g.Body); g.Status != http.StatusBadGateway && g.Status != http.StatusServiceUnavailable || e.Detail.RequestID == "" {
					t.Errorf("%d %+v", g.Status, e)
				}
			case strings.Contains(g.Body, `"errors"`):
				t.Error("an error body was appended")
			}
			if closed != 1 {
				t.Errorf("the body was closed %d times", closed)
			}
			if lines := logs.access(t); len(lines) != 1 || lines[0]["level"] != "WARN" || lines[0]["error"] == nil {
				t.Errorf("log %v", lines)
			}
		})
	}
}

// Good bytes that come together with the news of a cut still go out: each is one
// that the client need not ask for again.
func TestF18BytesThatComeWithTheError(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, Config{}, blobWith(int64(len(layer)), func() pullchain.Body {
		return &fakeBody{read: func(p []byte) (int, error) { return copy(p, layer[:3000]), errCut }}
	}))
	s := serve(t, h)
	if g := do(t, s.Client(), "GET", s.URL+blobPath); g.Err != io.ErrUnexpectedEOF || g.Body != string(layer[:3000]) {
		t.Errorf("%d bytes, %v", len(g.Body), g.Err)
	}
}

// F20: bytes that come together with the news that they are wrong do not.
func TestF20WrongBytesStayHere(t *testing.T) {
	t.Parallel()
	wrong := &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeDigestMismatch}
	h, _ := newHandler(t, Config{}, blobWith(int64(len(layer)), func() pullchain.Body {
		reads := 0
		return &fakeBody{read: func(p []byte) (int, error) {
			if reads++; reads == 1 {
				return copy(p, layer[:5000]), nil
			}
			return copy(p, "wrong"), wrong
		}}
	}))
	s := serve(t, h)
	if g := do(t, s.Client(), "GET", s.URL+blobPath); g.Err != io.ErrUnexpectedEOF || g.Body != string(layer[:5000]) {
		t.Errorf("%d bytes, %v", len(g.Body), g.Err)
	}
}

// A chain that fails before its first byte is answered in words, with the status
// and headers of the error and none of the content's.
func TestFailureBeforeFirstByte(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, Config{}, blobWith(int64(len(layer)), func() pullchain.Body { return bodyOf(nil, 1, errCut) }))
	s := serve(t, h)
	g := do(t, s.Client(), "GET", s.URL+blobPath)
	e := decodeError(t, g.Body)
	if g.Status != 503 || !strings.Contains(e.Message, "docker-hub truncated") || g.Header.Get("Retry-After") == "" {
		t.Errorf("%d %+v", g.Status, e)
	}
	for _, name := range []string{"Docker-Content-Digest", "Etag", "Accept-Ranges", "Content-Range", "Cache-Status"} {
		if v := g.Header.Get(name); v != "" {
			t.Errorf("%s: %s", name, v)
		}
	}
}

// An HTTP/1.0 body of unknown length ends with the connection, so a broken one
// has to end by RST.
func TestHTTP10OfUnknownSizeIsReset(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, Config{}, blobWith(-1, func() pullchain.Body { return bodyOf(layer[:5000], 1000, errCut) }))
	s := serve(t, h)
	if g := rawRequest(t, s.Listener.Addr().String(), "GET "+blobPath+" HTTP/1.0\r\n\r\n"); !errors.Is(g.Err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v after %d bytes, want a reset", g.Err, len(g.Body))
	}
	whole, _ := newHandler(t, Config{}, blobWith(-1, func() pullchain.Body { return bodyOf(layer, 1000, io.EOF) }))
	s = serve(t, whole)
	if g := rawRequest(t, s.Listener.Addr().String(), "GET "+blobPath+" HTTP/1.0\r\n\r\n"); g.Err != nil || g.Body != string(layer) {
		t.Errorf("whole: %d bytes, %v", len(g.Body), g.Err)
	}
}

// F31: a client that leaves cancels the fetch, closes the body once, and is
// logged as 499 at debug.
func TestF31ClientAbort(t *testing.T) {
	t.Parallel()
	closed, canceled := make(chan struct{}), make(chan struct{})
	f := &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp := blobResponse(req)
		sent := false
		resp.Body = &fakeBody{
			read: func(p []byte) (int, error) {
				if !sent {
					sent = true
					return copy(p, layer[:100_000]), nil
				}
				<-ctx.Done()
				close(canceled)
				return 0, ctx.Err()
			},
			closed: func() { close(closed) }, // panics if closed twice
		}
		return resp, nil
	}}
	h, logs := newHandler(t, Config{}, f)
	s := serve(t, h)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", blobPath)
	if _, err := io.CopyN(io.Discard, conn, 50_000); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	<-canceled
	<-closed
	s.Close()
	if line := logs.access(t)[0]; line["level"] != "DEBUG" || line["status"] != 499.0 {
		t.Errorf("log %v", line)
	}
}

// F31: one that leaves before the answer gets none, not even if it only closed
// its half of the connection.
func TestF31ClientLeavesBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	f := &fakeFetcher{fetch: func(ctx context.Context, _ pullchain.Request) (pullchain.Response, error) {
		<-ctx.Done()
		return pullchain.Response{}, ctx.Err()
	}}
	h, logs := newHandler(t, Config{}, f)
	s := serve(t, h)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /v2/alpine/manifests/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	conn.(*net.TCPConn).CloseWrite()
	if answer, err := io.ReadAll(conn); len(answer) != 0 || err != nil {
		t.Errorf("answer %q, %v", answer, err)
	}
	s.Close()
	if line := logs.access(t)[0]; line["level"] != "DEBUG" || line["status"] != 499.0 || line["bytes"] != 0.0 {
		t.Errorf("log %v", line)
	}
}

// What the body knows of a resume is in the log, though the headers were gone.
func TestResumeIsLogged(t *testing.T) {
	t.Parallel()
	h, logs := newHandler(t, Config{}, blobWith(int64(len(layer)), func() pullchain.Body {
		body := &resumedBody{fakeBody: fakeBody{read: bytes.NewReader(layer).Read}}
		body.trace = []pullchain.Attempt{
			{Upstream: "docker-hub", Took: 38 * time.Millisecond, Err: &pullchain.Error{Code: pullchain.CodeStall}},
			{Upstream: "cf-worker", Took: 9 * time.Millisecond, Offset: 1 << 20},
		}
		return body
	}))
	s := serve(t, h)
	if g := do(t, s.Client(), "GET", s.URL+blobPath); g.Body != string(layer) || g.Err != nil {
		t.Fatalf("%d bytes, %v", len(g.Body), g.Err)
	}
	s.Close()
	const trace = "docker-hub:stall(38ms) cf-worker@1048576:ok(9ms)"
	if line := logs.access(t)[0]; line["trace"] != trace || line["upstream"] != "cf-worker" {
		t.Errorf("log %v", line)
	}
}

type resumedBody struct{ fakeBody }

func (b *resumedBody) Attempts() []pullchain.Attempt { return b.trace }
