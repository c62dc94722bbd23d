package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain/internal/messages"
)

// A roundTrip is a network with one answer.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A daemon that is restarted is gone for a moment; a watching status goes on watching.
func TestWatchOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out, errs bytes.Buffer
		a := &app{Program: Program{Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }}, messages: messages.In("en")}
		asked := 0
		p := &adminClient{base: "http://daemon", http: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			if asked++; asked == 2 {
				return nil, errors.New("connection refused")
			}
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"schema":1}`))}, nil
		})}}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := (&statusCmd{Watch: true}).watch(ctx, a, p)
		if !errors.Is(err, context.DeadlineExceeded) || asked != 3 {
			t.Errorf("asked %d times in 5 s, every 2 s; error %v", asked, err)
		}
		if n := strings.Count(out.String(), "registries pullable"); n != 2 || strings.Count(errs.String(), "no pullchain answers") != 1 {
			t.Errorf("%d tables:\n%s\n%s", n, out.String(), errs.String())
		}
	})
}

func TestRedacted(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"http://u:p@127.0.0.1:7890": "http://127.0.0.1:7890",
		"127.0.0.1:7890":            "http://127.0.0.1:7890",
		"u:p@proxy:1":               "http://proxy:1",
		"socks5://proxy/path?q=1":   "socks5://proxy",
		"http://u:p%zz@host":        "?",
		"://":                       "?",
	} {
		if got := redacted(raw); got != want {
			t.Errorf("redacted(%q) = %q, want %q", raw, got, want)
		}
	}
}

func TestReachable(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"127.0.0.1:5151": "127.0.0.1:5151", ":5151": "127.0.0.1:5151", "0.0.0.0:5151": "127.0.0.1:5151", "[::]:5151": "127.0.0.1:5151",
		"[::1]:5151": "[::1]:5151", "node7:5151": "node7:5151", "odd": "odd",
	} {
		if got := reachable(addr); got != want {
			t.Errorf("reachable(%q) = %q, want %q", addr, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 300 << 10: "300 KiB", 5 << 19: "2.5 MiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}
