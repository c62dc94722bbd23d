//go:build unix

package front

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/logsink"
)

// A warm manifest: 1.5 KB from memory, as the cache gives it.
var (
	warmManifest = bytes.Repeat([]byte("0123456789abcde\n"), 96)
	warmDigest   = digest.NewDigestFromBytes(digest.SHA256, sha256.New().Sum(nil))
)

// warmPath is what containerd asks: HEAD of the tag, GET of the digest.
func warmPath(method string) string {
	if method == http.MethodHead {
		return "/v2/library/alpine/manifests/3.20?ns=docker.io"
	}
	return "/v2/library/alpine/manifests/" + warmDigest.String() + "?ns=docker.io"
}

// fetchWarm is a cache that has it all.
type fetchWarm struct{}

func (fetchWarm) Fetch(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
	body := pullchain.NoBody
	if !req.Head {
		body = pullchain.BytesBody(warmManifest)
	}
	var age time.Duration
	if req.Tag != "" {
		age = 12 * time.Second
	}
	return pullchain.Response{
		Status: http.StatusOK, MediaType: manifestType, Digest: warmDigest, Size: int64(len(warmManifest)),
		Body: body, Cache: pullchain.CacheHit, Age: age,
	}, nil
}

// warmHandler serves warm manifests, with the log of a daemon: one JSON line for
// each request.
func warmHandler(b *testing.B, log io.Writer) *Handler {
	b.Helper()
	routes, err := NewRoutes([]Registry{
		{Name: "docker.io", Aliases: []string{"index.docker.io", "registry-1.docker.io"}, Fetcher: fetchWarm{}},
		{Name: "ghcr.io", Aliases: []string{"ghcr"}, Fetcher: fetchWarm{}},
	})
	if err != nil {
		b.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	if log != nil {
		sink := logsink.New(log, func(w io.Writer) slog.Handler {
			return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo})
		})
		b.Cleanup(sink.Close)
		logger = slog.New(sink.Handler())
	}
	h := New(Config{}, logger)
	h.SetRoutes(routes)
	return h
}

// BenchmarkHandler is what the front itself costs: no server, no sockets.
func BenchmarkHandler(b *testing.B) {
	for _, log := range []io.Writer{nil, io.Discard} {
		for _, method := range []string{"HEAD", "GET"} {
			b.Run(fmt.Sprintf("%s/log=%v", method, log != nil), func(b *testing.B) {
				h := warmHandler(b, log)
				r := httptest.NewRequest(method, warmPath(method), nil)
				r.Host, r.Header["Accept"] = "127.0.0.1:5151", []string{manifestType}
				w := &deaf{header: make(http.Header, 16)}
				b.ReportAllocs()
				for b.Loop() {
					clear(w.header)
					h.ServeHTTP(w, r)
				}
				if method == "GET" && w.bytes != b.N*len(warmManifest) {
					b.Fatal(w.bytes)
				}
			})
		}
	}
}

// plainManifest is the least that net/http can do to send the same answer.
func plainManifest(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Docker-Distribution-Api-Version"] = []string{"registry/2.0"}
	h["Oci-Namespace"] = []string{"docker.io"}
	h["Docker-Content-Digest"] = []string{warmDigest.String()}
	h["Etag"] = []string{`"` + warmDigest.String() + `"`}
	h["Cache-Status"] = []string{"pullchain; hit"}
	h["Content-Type"] = []string{manifestType}
	h["Content-Length"] = []string{strconv.Itoa(len(warmManifest))}
	if r.Method == http.MethodHead {
		h["Age"] = []string{"12"}
		return
	}
	w.Write(warmManifest)
}

// BenchmarkManifestHit asks a server on loopback for a warm manifest, 16
// connections in turn, and one whose handler does nothing but write the same
// bytes. x-net/http is the CPU time of the one over that of the other, the
// client's included; 1.0 is no cost at all.
func BenchmarkManifestHit(b *testing.B) {
	for _, method := range []string{"HEAD", "GET"} {
		b.Run(method, func(b *testing.B) {
			ours := startServer(b, warmHandler(b, io.Discard))
			plain := startServer(b, http.HandlerFunc(plainManifest))
			b.ReportAllocs()
			const batch = 2000
			var oursCPU, plainCPU, oursTime time.Duration
			for b.Loop() {
				cpu, start := cpuTime(b), time.Now()
				ask(b, ours, method, batch)
				oursTime += time.Since(start)
				oursCPU += cpuTime(b) - cpu
				b.StopTimer()
				cpu = cpuTime(b)
				ask(b, plain, method, batch)
				plainCPU += cpuTime(b) - cpu
				b.StartTimer()
			}
			requests := float64(b.N * batch)
			b.ReportMetric(oursCPU.Seconds()/plainCPU.Seconds(), "x-net/http")
			b.ReportMetric(oursCPU.Seconds()*1e6/requests, "cpu-µs/req")
			b.ReportMetric(plainCPU.Seconds()*1e6/requests, "plain-cpu-µs/req")
			b.ReportMetric(requests/oursTime.Seconds(), "req/s")
		})
	}
}

// startServer serves h with the listener's real limits, and returns 16 open
// connections to it.
func startServer(b *testing.B, h http.Handler) []net.Conn {
	b.Helper()
	s, err := NewServer(Config{}, h, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	conns := make([]net.Conn, 16)
	for i := range conns {
		if conns[i], err = net.Dial("tcp", ln.Addr().String()); err != nil {
			b.Fatal(err)
		}
	}
	b.Cleanup(func() {
		for _, conn := range conns {
			conn.Close()
		}
		s.Shutdown(context.Background())
		<-done
	})
	return conns
}

// ask sends n requests over the connections, from a client that does as little as
// it can, and checks what comes.
func ask(b *testing.B, conns []net.Conn, method string, n int) {
	request := []byte(method + " " + warmPath(method) + " HTTP/1.1\r\nHost: 127.0.0.1:5151\r\nUser-Agent: containerd/2.1.1\r\nAccept: " +
		manifestType + ", application/vnd.oci.image.index.v1+json, */*\r\n\r\n")
	work := make(chan error, len(conns))
	for _, conn := range conns {
		go func() {
			r := bufio.NewReader(conn)
			for range n / len(conns) {
				if _, err := conn.Write(request); err != nil {
					work <- err
					return
				}
				if err := readAnswer(r, method == "GET"); err != nil {
					work <- err
					return
				}
			}
			work <- nil
		}()
	}
	for range conns {
		if err := <-work; err != nil {
			b.Error(err)
		}
	}
}

func readAnswer(r *bufio.Reader, body bool) error {
	line, err := r.ReadSlice('\n')
	if err != nil || !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("%q, %w", line, err)
	}
	for len(line) > 2 {
		if line, err = r.ReadSlice('\n'); err != nil {
			return err
		}
	}
	if body {
		_, err = r.Discard(len(warmManifest))
	}
	return err
}
