package front

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/leaktest"
)

// TestMain also looks for goroutines that are left running.
func TestMain(m *testing.M) { leaktest.Main(m) }

// fakeFetcher is a chain; it keeps a ledger of what it was asked.
type fakeFetcher struct {
	fetch func(ctx context.Context, req pullchain.Request) (pullchain.Response, error)

	mu    sync.Mutex
	asked []pullchain.Request
}

func (f *fakeFetcher) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	f.mu.Lock()
	f.asked = append(f.asked, req)
	f.mu.Unlock()
	return f.fetch(ctx, req)
}

func (f *fakeFetcher) ledger() []pullchain.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// silent is the half of a body that tells of it, of one that does not.
type silent struct{}

func (silent) Attempts() []pullchain.Attempt { return nil }
func (silent) Source() pullchain.Source      { return pullchain.Source{} }
func (silent) Sections() pullchain.Sections  { return nil }

// fakeBody is a response body that counts its closes.
type fakeBody struct {
	silent
	read   func(p []byte) (int, error)
	closed func()
	trace  []pullchain.Attempt
}

func (b *fakeBody) Read(p []byte) (int, error) { return b.read(p) }
func (b *fakeBody) Close() error {
	if b.closed != nil {
		b.closed()
	}
	return nil
}

// logLines collects JSON log lines.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// all returns the lines so far, decoded.
func (l *logLines) all(t testing.TB) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []map[string]any
	for line := range strings.Lines(l.buf.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		lines = append(lines, m)
	}
	return lines
}

// access returns the access-log lines.
func (l *logLines) access(t testing.TB) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for _, m := range l.all(t) {
		if m["msg"] == "request" {
			lines = append(lines, m)
		}
	}
	return lines
}

func (l *logLines) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// newHandler returns a handler that serves docker.io, ghcr.io and the like, all
// from f, with its log.
func newHandler(t testing.TB, c Config, f pullchain.Fetcher) (*Handler, *logLines) {
	t.Helper()
	routes, err := NewRoutes([]Registry{
		{Name: "docker.io", Aliases: []string{"index.docker.io", "registry-1.docker.io"}, Fetcher: f},
		{Name: "ghcr.io", Aliases: []string{"ghcr", "ghcr.mirror.example.com"}, Fetcher: f},
		{Name: "registry.k8s.io", Aliases: []string{"k8s.gcr.io"}, Fetcher: f},
		{Name: "registry.corp:5000", Fetcher: f},
	})
	if err != nil {
		t.Fatal(err)
	}
	logs := &logLines{}
	h := New(c, logs.logger())
	h.SetRoutes(routes)
	return h, logs
}

// serve starts a server on loopback for one test.
func serve(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.Client().CloseIdleConnections()
		s.Close()
	})
	return s
}

// got is what a client saw.
type got struct {
	Status int
	Header http.Header
	Body   string
	Err    error // of reading the body
}

// do sends one request; header is "Name: value" lines.
func do(t testing.TB, client *http.Client, method, url string, header ...string) got {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Add(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return got{resp.StatusCode, resp.Header, string(body), err}
}

// ociError is an error answer as a client decodes it.
type ociError struct {
	Code    string
	Message string
	Detail  detail
}

func decodeError(t testing.TB, body string) ociError {
	t.Helper()
	var b struct{ Errors []ociError }
	if err := json.Unmarshal([]byte(body), &b); err != nil || len(b.Errors) != 1 {
		t.Fatalf("not an OCI error body: %q (%v)", body, err)
	}
	return b.Errors[0]
}

// deaf is a ResponseWriter that costs nothing.
type deaf struct {
	header http.Header
	bytes  int
}

func (d *deaf) Header() http.Header              { return d.header }
func (d *deaf) WriteHeader(int)                  {}
func (d *deaf) SetWriteDeadline(time.Time) error { return nil }
func (d *deaf) Write(p []byte) (int, error) {
	d.bytes += len(p)
	return len(p), nil
}

const manifestType = "application/vnd.oci.image.manifest.v1+json"

// manifestBytes is what every manifest holds in these tests.
const manifestBytes = `{"schemaVersion":2}`

var (
	manifestDigest = digest.FromString(manifestBytes)
	layer          = bytes.Repeat([]byte("0123456789abcdef"), 100_000) // 1.6 MB: several reads, one pace window and more
	layerDigest    = digest.FromBytes(layer)
	blobPath       = "/v2/library/alpine/blobs/" + layerDigest.String()
)

func served(upstream string) []pullchain.Attempt {
	return []pullchain.Attempt{{Upstream: upstream, Took: 38 * time.Millisecond}}
}

// healthy answers everything as a good chain does.
func healthy(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
	resp := pullchain.Response{Status: http.StatusOK, Size: -1, Attempts: served("docker-hub")}
	var body string
	switch req.Op {
	case pullchain.Manifest:
		body, resp.MediaType, resp.Digest = manifestBytes, manifestType, manifestDigest
	case pullchain.Blob:
		return blobResponse(req), nil
	case pullchain.Tags:
		body, resp.MediaType = `{"name":"library/alpine","tags":["3.20"]}`, "application/json"
	case pullchain.Referrers:
		body, resp.MediaType = `{"schemaVersion":2,"manifests":[]}`, "application/vnd.oci.image.index.v1+json"
	}
	resp.Size = int64(len(body))
	if req.Head {
		body = ""
	}
	resp.Body = pullchain.BytesBody([]byte(body))
	return resp, nil
}

func blobResponse(req pullchain.Request) pullchain.Response {
	resp := pullchain.Response{
		Status: http.StatusOK, MediaType: "text/html", Digest: layerDigest,
		Size: int64(len(layer)), Attempts: served("docker-hub"),
	}
	part := layer
	if !req.Range.Whole() {
		from, to := req.Range.From, req.Range.To
		if from < 0 {
			from += resp.Size
		}
		if to == 0 {
			to = resp.Size
		}
		resp.Status, resp.Range, part = http.StatusPartialContent, pullchain.Range{From: from, To: to}, layer[from:to]
	}
	if req.Head {
		part = nil
	}
	resp.Body = pullchain.BytesBody(part)
	return resp
}
