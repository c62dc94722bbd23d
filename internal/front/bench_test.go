//go:build unix

package front

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
)

// chunks is a body of n bytes that costs its reader a copy and no more.
type chunks struct {
	silent
	left int64
}

func (c *chunks) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && c.left > 0 {
		m := copy(p[n:], layer[:min(int64(len(layer)), c.left)])
		n, c.left = n+m, c.left-int64(m)
	}
	return n, nil
}

func (c *chunks) Close() error { return nil }

const benchSize = 100 << 20

// BenchmarkBlobStream pulls 100 MiB through the handler and through a handler
// that is an io.Copy, in turns, over loopback. x-io.Copy is the handler's best
// time over the other's best, which other work on the machine disturbs least;
// cpu-x-io.Copy compares the CPU time, the client's included. 1.0 is as fast.
func BenchmarkBlobStream(b *testing.B) {
	routes, err := NewRoutes([]Registry{{Name: "docker.io", Fetcher: &fakeFetcher{
		fetch: func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
			resp := blobResponse(req)
			resp.Size, resp.Body = benchSize, &chunks{left: benchSize}
			return resp, nil
		},
	}}})
	if err != nil {
		b.Fatal(err)
	}
	h := New(Config{}, slog.New(slog.DiscardHandler))
	h.SetRoutes(routes)
	ours := httptest.NewServer(h)
	defer ours.Close()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "104857600")
		io.Copy(w, &chunks{left: benchSize})
	}))
	defer plain.Close()
	pull := func(url string) time.Duration {
		start := time.Now()
		resp, err := http.Get(url)
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{resp.Body}, make([]byte, 256<<10))
		if n != benchSize || err != nil {
			b.Fatal(n, err)
		}
		return time.Since(start)
	}
	defer http.DefaultClient.CloseIdleConnections()
	b.SetBytes(benchSize)
	b.ReportAllocs()
	front, copied := time.Hour, time.Hour
	var frontCPU, copiedCPU time.Duration
	for b.Loop() {
		cpu := cpuTime(b)
		front = min(front, pull(ours.URL+blobPath))
		frontCPU += cpuTime(b) - cpu
		b.StopTimer()
		cpu = cpuTime(b)
		copied = min(copied, pull(plain.URL))
		copiedCPU += cpuTime(b) - cpu
		b.StartTimer()
	}
	b.ReportMetric(front.Seconds()/copied.Seconds(), "x-io.Copy")
	b.ReportMetric(frontCPU.Seconds()/copiedCPU.Seconds(), "cpu-x-io.Copy")
}

// cpuTime is what the process has used so far.
func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkManifest is what the front adds to a manifest: parse, routing,
// headers, one log line.
func BenchmarkManifest(b *testing.B) {
	h := New(Config{}, slog.New(slog.NewJSONHandler(io.Discard, nil)))
	routes, err := NewRoutes([]Registry{{Name: "docker.io", Fetcher: &fakeFetcher{fetch: healthy}}})
	if err != nil {
		b.Fatal(err)
	}
	h.SetRoutes(routes)
	r := httptest.NewRequest("GET", "/v2/library/alpine/manifests/3.20?ns=docker.io", nil)
	r.Host, r.Header["Accept"] = "localhost", []string{manifestType}
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), []byte(manifestBytes)) {
			b.Fatal(w.Code)
		}
	}
}
