package upstreams

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
)

// Whether a connection is used again depends on the clock: ours for what is left
// of a body, and net/http's own for the end of its writing. So the tests of this
// file run in bubbles.

// pipes are servers behind pipes, by their host names. They speak HTTP/1.1
// without TLS and write down which server was asked over which connection.
type pipes struct {
	servers map[string]*http.Server
	lines   map[string]chan net.Conn

	mu    sync.Mutex
	dials map[string]int
	asked []string // "host path over N"
}

type pipeNumber struct{}

// newPipes serves hosts until the end of the bubble.
func newPipes(t *testing.T, hosts map[string]http.HandlerFunc) *pipes {
	t.Helper()
	p := &pipes{servers: map[string]*http.Server{}, lines: map[string]chan net.Conn{}, dials: map[string]int{}}
	for host, handler := range hosts {
		line := make(chan net.Conn)
		p.lines[host] = line
		server := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				p.mu.Lock()
				p.asked = append(p.asked, fmt.Sprintf("%s %s over %d", host, strings.SplitN(r.URL.Path, "/", 3)[1], r.Context().Value(pipeNumber{})))
				p.mu.Unlock()
				handler(w, r)
			}),
			ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.dials[host]++
				return context.WithValue(ctx, pipeNumber{}, p.dials[host])
			},
		}
		go server.Serve(&lineListener{line, make(chan struct{}), sync.Once{}})
		t.Cleanup(func() { server.Close() })
	}
	return p
}

// upstream returns one whose origin is hub.example, and which reaches only p.
func (p *pipes) upstream(t *testing.T, change ...func(*Config)) *Upstream {
	t.Helper()
	cfg := Config{Name: "hub", URL: "https://hub.example"}
	for _, f := range change {
		f(&cfg)
	}
	u := testUpstream(t, cfg)
	for _, transport := range []*http.Transport{u.api, u.blobs, u.http1} {
		transport.DialTLSContext = func(_ context.Context, _, addr string) (net.Conn, error) {
			host, _, _ := net.SplitHostPort(addr)
			near, far := net.Pipe()
			p.lines[host] <- far
			return near, nil
		}
	}
	return u
}

type lineListener struct {
	line   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *lineListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.line:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *lineListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *lineListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// TestEarlyClose: a connection whose body is closed shortly before its end stays
// warm; much that is left is not worth reading.
func TestEarlyClose(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	for left, connections := range map[int64]int{0: 1, 1000: 1, size / 2: 2} {
		t.Run(fmt.Sprint(left), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPipes(t, map[string]http.HandlerFunc{"hub.example": func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Length", fmt.Sprint(size))
					_, _ = w.Write(make([]byte, size))
				}})
				u := p.upstream(t)
				for range 2 {
					resp, err := u.Fetch(t.Context(), pullchain.Request{Op: pullchain.Blob, Repo: "library/alpine", Digest: digest.FromString("x")})
					if err != nil {
						t.Fatal(err)
					}
					if _, err := io.CopyN(io.Discard, resp.Body, size-left); err != nil {
						t.Fatal(err)
					}
					resp.Body.Close()
				}
				if n := p.dials["hub.example"]; n != connections {
					t.Errorf("%d connections, want %d", n, connections)
				}
			})
		})
	}
}

// TestWarmFirstHop: once a registry is known to redirect its blobs, they begin
// on the connection that the manifest came over. No challenge and no redirect
// costs a connection.
func TestWarmFirstHop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
		p := newPipes(t, map[string]http.HandlerFunc{
			"hub.example": func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Header.Get("Authorization") != "Bearer t":
					w.Header().Set("WWW-Authenticate", `Bearer realm="https://auth.hub.example/token",service="hub"`)
					http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
				case strings.Contains(r.URL.Path, "/blobs/"):
					http.Redirect(w, r, "https://cdn.example/data", http.StatusTemporaryRedirect)
				default:
					w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
					_, _ = io.WriteString(w, manifest)
				}
			},
			"auth.hub.example": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"token":"t"}`) },
			"cdn.example":      func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 64<<10)) },
		})
		u := p.upstream(t)
		blob := pullchain.Request{Op: pullchain.Blob, Repo: "library/alpine", Digest: digest.FromString("x")}
		for _, req := range []pullchain.Request{{Op: pullchain.Manifest, Repo: "library/alpine", Tag: "3.20"}, blob, blob, blob} {
			resp, err := u.Fetch(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, resp.Body); n == 0 || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			resp.Body.Close()
		}
		want := []string{
			"hub.example v2 over 1", "auth.hub.example token over 1", "hub.example v2 over 1",
			"hub.example v2 over 2", "cdn.example data over 1", // that it redirects is not known yet
			"hub.example v2 over 1", "cdn.example data over 1",
			"hub.example v2 over 1", "cdn.example data over 1",
		}
		if diff := cmp.Diff(want, p.asked); diff != "" {
			t.Errorf("asked (-want +got):\n%s", diff)
		}
	})
}

// TestStallSparesSlowReaders: the time that a reader takes is not the upstream's
// silence, and the upstream's silence is.
func TestStallSparesSlowReaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := testUpstream(t, Config{Name: "hub", URL: "https://hub.example", Timeouts: Timeouts{Stall: time.Second}})
		a := &attempt{u: u}
		a.ctx, a.cancel = context.WithCancelCause(t.Context())
		body := a.stream(&http.Response{Body: &wireBody{ctx: a.ctx, left: 100, silent: 70}, ContentLength: 100})
		defer body.Close()
		buf := make([]byte, 10)
		for range 3 {
			time.Sleep(3 * time.Second)
			if n, err := body.Read(buf); n != 10 || err != nil {
				t.Fatalf("%d bytes, %v", n, err)
			}
		}
		start := time.Now()
		_, err := body.Read(buf)
		if took := time.Since(start); pullchain.CodeOf(err) != pullchain.CodeStall || took != time.Second {
			t.Errorf("%v after %v, want a stall after 1s", err, took)
		}
	})
}
