package front

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
)

// start serves h on loopback and returns the address. The server is shut down at
// the end of the test.
func start(t testing.TB, c Config, h *Handler) (addr string, s *Server) {
	t.Helper()
	s, err := NewServer(c, h, h.log)
	if err != nil {
		t.Fatal(err)
	}
	return listenAt(t, s), s
}

// listenAt serves s on loopback until the end of the test.
func listenAt(t testing.TB, s *Server) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	s.grace = ioPatience // what is cut flushes in order on however busy a machine
	t.Cleanup(func() {
		s.Shutdown(context.Background())
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// client returns a client of its own connections.
func client(t testing.TB, config *tls.Config) *http.Client {
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// gate is a body that gives its first half, waits, and then the rest.
type gate struct {
	half    chan struct{} // closed when the first half was taken
	release chan struct{} // close it to let the rest go
}

func newGate() *gate { return &gate{make(chan struct{}), make(chan struct{})} }

// fetch serves the layer through the gate.
func (g *gate) fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	resp := blobResponse(req)
	at := 0
	resp.Body = &fakeBody{read: func(p []byte) (int, error) {
		switch at {
		case len(layer):
			return 0, io.EOF
		case len(layer) / 2:
			close(g.half)
			select {
			case <-g.release:
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		end := len(layer)
		if at < len(layer)/2 {
			end = len(layer) / 2
		}
		n := copy(p, layer[at:end])
		at += n
		return n, nil
	}}
	return resp, nil
}

// F36: a drain lets what is under way finish, and accepts no more.
func TestF36DrainFinishesAnswers(t *testing.T) {
	t.Parallel()
	g := newGate()
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: g.fetch})
	addr, s := start(t, Config{}, h)
	first := make(chan got)
	go func() { first <- do(t, client(t, nil), "GET", "http://"+addr+blobPath) }()
	<-g.half
	stopped := make(chan error)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	for { // the listener closes in a moment
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		conn.Close()
	}
	close(g.release)
	if r := <-first; r.Status != 200 || r.Err != nil || r.Body != string(layer) {
		t.Errorf("%d, %d bytes, %v", r.Status, len(r.Body), r.Err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// F36: what does not finish in time is cut by FIN, with every byte that there
// was; what has not begun is lines to try again.
func TestF36DrainCuts(t *testing.T) {
	t.Parallel()
	g := newGate()
	waiting := make(chan struct{})
	f := &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		if req.Op == pullchain.Blob {
			return g.fetch(ctx, req)
		}
		close(waiting)
		<-ctx.Done()
		return pullchain.Response{}, ctx.Err()
	}}
	h, logs := newHandler(t, Config{}, f)
	addr, s := start(t, Config{DrainTimeout: 50 * time.Millisecond}, h)
	blob, manifest := make(chan got), make(chan got)
	go func() { blob <- rawRequest(t, addr, "GET "+blobPath+" HTTP/1.1\r\nHost: localhost\r\n\r\n") }()
	go func() {
		manifest <- rawRequest(t, addr, "GET /v2/alpine/manifests/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}()
	<-g.half
	<-waiting
	if err := s.Shutdown(context.Background()); err == nil {
		t.Error("Shutdown does not say that it cut")
	}
	if r := <-blob; r.Status != 200 || r.Err != nil || r.Body != string(layer[:len(layer)/2]) {
		t.Errorf("blob: %d, %d bytes, ended with %v", r.Status, len(r.Body), r.Err)
	}
	r := <-manifest
	if e := decodeError(t, r.Body); r.Status != 503 || e.Code != "UNAVAILABLE" || r.Header.Get("Retry-After") == "" {
		t.Errorf("manifest: %d %+v", r.Status, e)
	}
	for _, line := range logs.access(t) {
		if line["level"] != "WARN" || line["status"] == 499.0 {
			t.Errorf("the cut is blamed on the client: %v", line)
		}
	}
}

// Shutdown obeys its context too.
func TestF36DrainObeysContext(t *testing.T) {
	t.Parallel()
	g := newGate()
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: g.fetch})
	addr, s := start(t, Config{DrainTimeout: time.Hour}, h)
	blob := make(chan got)
	go func() { blob <- rawRequest(t, addr, "GET "+blobPath+" HTTP/1.1\r\nHost: localhost\r\n\r\n") }()
	<-g.half
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); err == nil {
		t.Error("Shutdown does not say that it cut")
	}
	if r := <-blob; r.Err != nil || r.Body != string(layer[:len(layer)/2]) {
		t.Errorf("%d bytes, ended with %v", len(r.Body), r.Err)
	}
}

// F44: too many headers are a 431, and reach no handler.
func TestF44OversizeHeaders(t *testing.T) {
	t.Parallel()
	f := &fakeFetcher{fetch: healthy}
	h, _ := newHandler(t, Config{}, f)
	addr, _ := start(t, Config{}, h)
	for size, want := range map[int]int{60 << 10: 200, 70 << 10: 431} {
		request := "GET /v2/alpine/manifests/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Pad: " + strings.Repeat("a", size) + "\r\n\r\n"
		if g := rawRequest(t, addr, request); g.Status != want {
			t.Errorf("%d bytes of headers: %d, want %d", size, g.Status, want)
		}
	}
	if n := len(f.ledger()); n != 1 {
		t.Errorf("the chain was asked %d times, want 1", n)
	}
}

// Smuggling (docs/faults.md 6): a request that another hop could read as two is
// answered once, and the connection closed. The second request must be neither
// answered nor asked of a chain.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	const second = "GET /v2/evil/manifests/1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
	const get = "GET /v2/alpine/manifests/1 HTTP/1.1\r\nHost: localhost\r\n"
	tests := []struct {
		name, request string
		status        int
	}{
		{"a body on GET", get + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(second)) + second, 400},
		{"a chunked body on GET", get + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second, 400},
		{"CL and TE", get + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second, 400},
		{"two lengths", get + "Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + second, 400},
		{"an odd coding", get + "Transfer-Encoding: xchunked\r\n\r\n" + second, 501},
		{"a body on a write", "POST /v2/alpine/blobs/uploads/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello" + second, 405},
		{"expect", get + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n" + second, 400},
		{"a bare LF in a header", get + "X: a\nContent-Length: 5\r\n\r\n" + second, 400},
		{"a space before the colon", get + "Content-Length : 5\r\n\r\n" + second, 400},
		{"no host", "GET /v2/alpine/manifests/1 HTTP/1.1\r\n\r\n" + second, 400},
		{"two hosts", get + "Host: evil.example\r\n\r\n" + second, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := &fakeFetcher{fetch: healthy}
			h, _ := newHandler(t, Config{}, f)
			addr, _ := start(t, Config{}, h)
			g := rawRequest(t, addr, tt.request)
			if g.Status != tt.status || strings.Contains(g.Body, "HTTP/1.1") {
				t.Errorf("%d, want %d once; then %q", g.Status, tt.status, g.Body)
			}
			if asked := f.ledger(); len(asked) != 0 {
				t.Errorf("the chain was asked %+v", asked)
			}
		})
	}
}

// One address cannot take every connection, through however many listeners; it is
// lines to the log once.
func TestConnectionsPerClient(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		config  Config
		refused bool
	}{
		{"capped", Config{MaxConnsPerClient: 3}, true},
		{"a trusted proxy is not", Config{MaxConnsPerClient: 3, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, logs := newHandler(t, tt.config, &fakeFetcher{fetch: healthy})
			addr, s := start(t, tt.config, h)
			further, err := s.Beside(tt.config, h, h.log)
			if err != nil {
				t.Fatal(err)
			}
			beside := listenAt(t, further)
			ping := func(addr string) (net.Conn, error) {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				conn.SetDeadline(time.Now().Add(ioPatience))
				fmt.Fprintf(conn, "GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
				_, err = conn.Read(make([]byte, 15)) // kept alive
				return conn, err
			}
			var open []net.Conn
			for range 3 {
				conn, err := ping(addr)
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, conn)
			}
			for _, listener := range []string{addr, beside} {
				conn, err := ping(listener)
				conn.Close()
				if (err != nil) != tt.refused {
					t.Errorf("one more: %v", err)
				}
			}
			lines := 0
			for _, line := range logs.all(t) {
				if strings.HasPrefix(line["msg"].(string), "connections refused") && line["addr"] == "127.0.0.1" {
					lines++
				}
			}
			if want := map[bool]int{true: 1}[tt.refused]; lines != want {
				t.Errorf("logged %d times, want %d", lines, want)
			}
			for _, conn := range open {
				conn.Close()
			}
			for { // the server notices in a moment
				conn, err := ping(beside)
				conn.Close()
				if err == nil {
					return
				}
			}
		})
	}
}

// net/http's own words go into an attribute, never into the message.
func TestServerLog(t *testing.T) {
	t.Parallel()
	logs := &logLines{}
	l := serverLog(logs.logger())
	l.Printf("http: TLS handshake error from %s", "x\x1b[31m")
	l.Printf("http: panic serving %s", "x")
	lines := logs.all(t)
	for i, want := range []struct{ level, text string }{
		{"DEBUG", "http: TLS handshake error from x\x1b[31m"}, {"ERROR", "http: panic serving x"},
	} {
		if line := lines[i]; line["msg"] != "http server" || line["level"] != want.level || line["text"] != want.text {
			t.Errorf("%v", line)
		}
	}
}

// A handler's panic is a dropped connection and two log lines, not a dead server.
func TestPanicInTheChain(t *testing.T) {
	t.Parallel()
	h, logs := newHandler(t, Config{}, &fakeFetcher{fetch: func(context.Context, pullchain.Request) (pullchain.Response, error) { panic("bug") }})
	addr, _ := start(t, Config{}, h)
	if g := rawRequest(t, addr, "GET /v2/alpine/manifests/1 HTTP/1.1\r\nHost: localhost\r\n\r\n"); g.Err == nil {
		t.Errorf("answered %d", g.Status)
	}
	if g := rawRequest(t, addr, "GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); g.Status != 200 {
		t.Errorf("afterwards: %d", g.Status)
	}
	if line := logs.access(t)[0]; line["status"] != 500.0 || line["level"] != "WARN" {
		t.Errorf("log %v", line)
	}
}

func TestNewServerWithoutCertificate(t *testing.T) {
	t.Parallel()
	_, err := NewServer(Config{TLSCert: "/nowhere/cert.pem", TLSKey: "/nowhere/key.pem"}, http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "tls_cert") {
		t.Errorf("error %v", err)
	}
}
