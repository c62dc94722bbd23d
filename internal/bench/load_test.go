//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/leaktest"
	"github.com/pullchain/pullchain/internal/simnet"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == bareCommand { // the program that starts it is this one
		fmt.Fprintln(os.Stderr, runBare(os.Args[2:]))
		os.Exit(1)
	}
	leaktest.Main(m)
}

func TestParseHead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in string
		want     answerHead
		err      string
	}{
		{"length", "HTTP/1.1 200 OK\r\nA: b\r\ncontent-Length: 42\r\n\r\nbody", answerHead{200, 42, 45}, ""},
		{"no length", "HTTP/1.1 304 Not Modified\r\nA: b\r\n\r\n", answerHead{304, -1, 35}, ""},
		{"no headers", "HTTP/1.1 200 OK\r\n\r\n", answerHead{200, -1, 19}, ""},
		{"partial", "HTTP/1.1 200 OK\r\nContent-Le", answerHead{}, errPartialHead.Error()},
		{"not HTTP", "SSH-2.0-x\r\n\r\n", answerHead{}, "not an HTTP"},
		{"bad length", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", answerHead{}, "invalid syntax"},
	} {
		got, err := parseHead([]byte(tt.in))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error %v, want %q", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
	}
}

// serve starts a server of h and returns it as a target; this process plays the
// server whose CPU time is measured.
func serve(t *testing.T, secure bool, h http.HandlerFunc) *server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	s := &server{name: "test", proc: thisProcess(t)}
	if secure {
		srv.StartTLS()
		s.target.tls = srv.Client().Transport.(*http.Transport).TLSClientConfig
		s.target.tls.ServerName = "example.com"
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	s.target.addr = srv.Listener.Addr().String()
	return s
}

func TestPullAway(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	body := make([]byte, size)
	for _, secure := range []bool{false, true} {
		s := serve(t, secure, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/gone" {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Length", strconv.Itoa(size))
			if r.URL.Path == "/cut" {
				_, _ = w.Write(body[:size/2])
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(body)
		})
		var seen atomic.Int64
		n, err := pullAway(t.Context(), s.target, "/", func(n int) { seen.Add(int64(n)) })
		if err != nil || n != size {
			t.Errorf("TLS %t: %d bytes, %v", secure, n, err)
		}
		if got := seen.Load(); got < size-64<<10 || got > size+size/50 {
			t.Errorf("TLS %t: %d bytes were counted, want about %d", secure, got, size)
		}
		for _, path := range []string{"/gone", "/cut"} {
			if _, err := pullAway(t.Context(), s.target, path, func(int) {}); err == nil {
				t.Errorf("TLS %t: %s was no error", secure, path)
			}
		}
	}
}

// window is measured where something is to come in it, on however busy a machine.
const window = 3 * time.Second

func TestStreamFor(t *testing.T) {
	t.Parallel()
	s := serve(t, false, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(time.Millisecond) // others have work to do
		_, _ = w.Write(make([]byte, 1000))
	})
	f, err := s.streamFor(t.Context(), "/", 2, window)
	if err != nil || f.bytes < 1000 || f.took < window || f.rate() <= 0 {
		t.Errorf("%+v, %v", f, err)
	}
	s = serve(t, false, func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) })
	if f, err := s.streamFor(t.Context(), "/", 2, 50*time.Millisecond); err == nil {
		t.Errorf("404s are no error: %+v", f)
	}
}

func TestCallFor(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		for _, method := range []string{http.MethodHead, http.MethodGet} {
			t.Run(fmt.Sprintf("TLS %t, %s", secure, method), func(t *testing.T) {
				t.Parallel()
				var asked, others atomic.Int64
				s := serve(t, secure, func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(time.Millisecond)              // others have work to do
					w.Header().Set("Content-Length", "70000") // more than a read brings
					if asked.Add(1); r.Method != method {
						others.Add(1)
					}
					if r.Method == http.MethodGet {
						_, _ = w.Write(make([]byte, 70000))
					}
				})
				got, err := s.callFor(t.Context(), method, "/", 3, window)
				if err != nil || got.n == 0 || got.all < got.n || got.p99 <= 0 || got.perSecond() <= 0 {
					t.Errorf("%+v, %v", got, err)
				}
				if asked.Load() < int64(got.all) || others.Load() != 0 {
					t.Errorf("%d of %d requests had another method", others.Load(), asked.Load())
				}
			})
		}
	}
}

func TestCountCallsTakesTheWindow(t *testing.T) {
	t.Parallel()
	began := time.Unix(100, 0)
	at := func(ms int) call {
		return call{began.Add(time.Duration(ms) * time.Millisecond), time.Duration(ms) * time.Microsecond}
	}
	got := countCalls(flow{took: time.Second}, [][]call{{at(-1), at(0), at(500)}, {at(999), at(1000), at(1500)}}, began)
	if got.n != 3 || got.all != 6 || got.p99 != 999*time.Microsecond {
		t.Errorf("%+v, want 3 of 6 calls, p99 999 µs", got)
	}
}

func TestLinkIsShared(t *testing.T) {
	t.Parallel()
	l := &link{bytesPerSec: 1e6}
	began := time.Now()
	errs := make(chan error)
	for range 2 {
		go func() {
			var err error
			for range 10 {
				err = errors.Join(err, l.take(context.Background(), 10_000))
			}
			errs <- err
		}()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < 200*time.Millisecond-2*linkBurst {
		t.Errorf("200 kB took %s by a line of 1 MB/s", took)
	}
}

func TestGetTellsShortBodies(t *testing.T) {
	t.Parallel()
	s := serve(t, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = fmt.Fprint(w, "short")
	})
	client := newClient(nil)
	t.Cleanup(client.CloseIdleConnections)
	if p, err := get(t.Context(), client, s.target.url(), "", true); err == nil {
		t.Errorf("a body of %d bytes in place of 100 is no error", p.bytes)
	}
}

func TestFreeAddr(t *testing.T) {
	t.Parallel()
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("%s is not free: %v", addr, err)
	}
	ln.Close()
}

func TestBareServerHasTheContent(t *testing.T) {
	t.Parallel()
	img := simnet.Image{Repo: "bench/x", Tags: []string{"1"}, Layers: []simnet.Layer{simnet.BigLayer(100<<10, 1)}}.Build()
	dir := t.TempDir()
	if err := writeBare(dir, img); err != nil {
		t.Fatal(err)
	}
	s := serve(t, false, newBare(dir).ServeHTTP)
	client := newClient(nil)
	t.Cleanup(client.CloseIdleConnections)
	layer, _ := img.Layer(0)
	for path, want := range map[string]string{
		img.Path(): img.Root.Digest.String(),
		img.ManifestPath(img.Root.Digest.String()): img.Root.Digest.String(),
		img.BlobPath(layer.Digest):                 layer.Digest.String(),
		img.BlobPath(img.Configs[0].Digest):        img.Configs[0].Digest.String(),
	} {
		p, err := get(t.Context(), client, s.target.url()+path, "", true)
		if err != nil || p.digest != want {
			t.Errorf("%s: %s, %v, want %s", path, p.digest, err, want)
		}
	}
	if p, err := get(t.Context(), client, s.target.url()+"/v2/bench/x/manifests/2", "", false); err == nil {
		t.Errorf("a tag that is not there has %d bytes", p.bytes)
	}
}
