//go:build unix

package front

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
)

// BenchmarkBlobHit pulls a file of 100 MiB through the handler, as a hit of the
// cache, and through http.ServeContent, in turns, over loopback. x-ServeContent
// is the handler's best time over the other's best, which other work on the
// machine disturbs least; cpu-x-ServeContent compares the CPU time, the client's
// included. 1.0 is as fast.
func BenchmarkBlobHit(b *testing.B) {
	name := filepath.Join(b.TempDir(), "blob")
	if err := os.WriteFile(name, make([]byte, benchSize), 0o600); err != nil {
		b.Fatal(err)
	}
	open := func() *os.File {
		file, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		return file
	}
	routes, err := NewRoutes([]Registry{{Name: "docker.io", Fetcher: &fakeFetcher{
		fetch: func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
			resp := blobResponse(req)
			resp.Size, resp.Attempts, resp.Cache = benchSize, nil, pullchain.CacheHit
			resp.Body = &diskBody{file: open(), ready: upTo(benchSize)}
			return resp, nil
		},
	}}})
	if err != nil {
		b.Fatal(err)
	}
	h := New(Config{}, slog.New(slog.DiscardHandler))
	h.SetRoutes(routes)
	content := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file := open()
		defer file.Close()
		w.Header()["Content-Type"] = []string{"application/octet-stream"}
		http.ServeContent(w, r, "", time.Time{}, file)
	})
	for _, proto := range []string{"HTTP/1.1", "TLS"} {
		b.Run(proto, func(b *testing.B) {
			ours, theirs := serveAs(b, h, proto), serveAs(b, content, proto)
			b.SetBytes(benchSize)
			b.ReportAllocs()
			oursBest, theirsBest := time.Hour, time.Hour
			var oursCPU, theirsCPU time.Duration
			for b.Loop() {
				cpu := cpuTime(b)
				oursBest = min(oursBest, pullBlob(b, ours))
				oursCPU += cpuTime(b) - cpu
				b.StopTimer()
				cpu = cpuTime(b)
				theirsBest = min(theirsBest, pullBlob(b, theirs))
				theirsCPU += cpuTime(b) - cpu
				b.StartTimer()
			}
			b.ReportMetric(oursBest.Seconds()/theirsBest.Seconds(), "x-ServeContent")
			b.ReportMetric(oursCPU.Seconds()/theirsCPU.Seconds(), "cpu-x-ServeContent")
			b.ReportMetric(oursCPU.Seconds()*float64(1<<30)/benchSize/float64(b.N), "cpu-s/GiB")
		})
	}
}

// pullBlob pulls and forgets the blob over a connection of its own, and returns
// how long it took from the request on.
func pullBlob(b *testing.B, s *httptest.Server) time.Duration {
	b.Helper()
	conn, err := tcpOrTLS(s)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	start := time.Now()
	if _, err := io.WriteString(conn, "GET "+blobPath+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		b.Fatal(err)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{conn}, make([]byte, 256<<10))
	if n < benchSize || n > benchSize+2000 || err != nil {
		b.Fatal(n, err)
	}
	return time.Since(start)
}

func tcpOrTLS(s *httptest.Server) (io.ReadWriteCloser, error) {
	if s.TLS == nil {
		return net.Dial("tcp", s.Listener.Addr().String())
	}
	return tls.Dial("tcp", s.Listener.Addr().String(), s.Client().Transport.(*http.Transport).TLSClientConfig)
}
