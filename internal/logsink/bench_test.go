package logsink

import (
	"io"
	"log/slog"
	"os"
	"testing"
	"time"
)

// request is the record of a warm pull.
func request() slog.Record {
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "request", 0)
	r.AddAttrs(
		slog.String("method", "HEAD"), slog.Int("status", 200), slog.String("registry", "docker.io"), slog.String("repo", "library/alpine"),
		slog.String("ref", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"), slog.String("op", "manifest"),
		slog.Int64("bytes", 1536), slog.Int64("ms", 0), slog.Int64("ttfb_ms", 0), slog.String("addr", "127.0.0.1"),
		slog.String("client", "containerd"), slog.String("form", "ns"), slog.String("cache", "hit"), slog.String("id", "2ez6yx0f5exyw"),
	)
	return r
}

// BenchmarkLine is what the line of a request costs, without its attributes: into
// nothing, and into a file and a pipe that is read, as a service manager does it,
// with a write for each line and through a Sink.
func BenchmarkLine(b *testing.B) {
	std := func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) }
	for _, bb := range []struct {
		name string
		make func(io.Writer) slog.Handler
		sink bool
		to   func(testing.TB) io.Writer
	}{
		{"slog", std, false, discard}, {"slog, file", std, false, file}, {"slog, sink, file", std, true, file},
		{"slog, pipe", std, false, pipe}, {"slog, sink, pipe", std, true, pipe},
	} {
		b.Run(bb.name, func(b *testing.B) {
			w := bb.to(b)
			h := bb.make(w)
			if bb.sink {
				s := New(w, bb.make)
				b.Cleanup(s.Close)
				h = s.Handler()
			}
			r := request()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_ = h.Handle(b.Context(), r)
				}
			})
		})
	}
}

func discard(testing.TB) io.Writer { return io.Discard }

func file(tb testing.TB) io.Writer {
	f, err := os.CreateTemp(tb.TempDir(), "")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	return f
}

func pipe(tb testing.TB) io.Writer {
	r, w, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, r)
	}()
	tb.Cleanup(func() {
		_ = w.Close()
		<-done
		_ = r.Close()
	})
	return w
}
