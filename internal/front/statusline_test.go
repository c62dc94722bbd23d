package front

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pullchain/pullchain"
)

type downFetcher struct{ err error }

func (f downFetcher) Fetch(context.Context, pullchain.Request) (pullchain.Response, error) {
	return pullchain.Response{}, f.err
}

// Docker, containerd, podman and skopeo print the status line of a 5xx and
// nothing else of it.
func TestStatusLineSaysWhatFailed(t *testing.T) {
	t.Parallel()
	down := &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeConnRefused, Attempts: []pullchain.Attempt{
		{Upstream: "docker-hub", Err: &pullchain.Error{Code: pullchain.CodeConnRefused}},
		{Upstream: "mirror\r\nX-Evil: 1 上游", Err: &pullchain.Error{Code: pullchain.CodeDNS}},
	}}
	h := New(Config{}, slog.New(slog.DiscardHandler))
	routes, err := NewRoutes([]Registry{{Name: "docker.io", Fetcher: downFetcher{down}}})
	if err != nil {
		t.Fatal(err)
	}
	h.SetRoutes(routes)
	srv := httptest.NewServer(h)
	defer srv.Close()
	for _, method := range []string{"GET", "HEAD"} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "%s /v2/library/alpine/manifests/3 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", method)
		resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		want := `503 no upstream could answer: docker-hub conn_refused, mirror??X-Evil: 1 ?? dns; run "pullchain status"`
		if resp.Status != want {
			t.Errorf("%s: status line %q, want %q", method, resp.Status, want)
		}
		if resp.Header.Get("X-Evil") != "" || resp.Header.Get("Retry-After") == "" || resp.Header.Get("Proxy-Status") == "" || !resp.Close {
			t.Errorf("%s: headers %v", method, resp.Header)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Errorf("%s: %v", method, err)
		}
		if got := strings.Contains(string(body), `"UNAVAILABLE"`); got != (method == "GET") || int64(len(body)) != resp.ContentLength && method == "GET" {
			t.Errorf("%s: body %q", method, body)
		}
	}
}
