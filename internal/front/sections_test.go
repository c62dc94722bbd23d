package front

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

// diskBody is a body in a file, as the cache gives it: from is where in the file it
// begins.
type diskBody struct {
	silent
	from   int64
	file   *os.File
	ready  func(sent int64) (int64, error) // how much there is after the first so many bytes
	closed func()

	mu   sync.Mutex
	sent int64
}

func (b *diskBody) Sections() pullchain.Sections { return b }
func (b *diskBody) Read([]byte) (int, error)     { return 0, errors.New("Read and Next were mixed") }

func (b *diskBody) Next() (pullchain.Section, error) {
	sent := b.total()
	n, err := b.ready(sent)
	return pullchain.Section{Content: b.file, Offset: b.from + sent, Size: n}, err
}

func (b *diskBody) Sent(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent += n
}

func (b *diskBody) total() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sent
}

func (b *diskBody) Close() error {
	if b.closed != nil {
		b.closed()
	}
	return b.file.Close()
}

// upTo is the ready of a body of size bytes that is all there.
func upTo(size int64) func(int64) (int64, error) {
	return func(sent int64) (int64, error) {
		if sent == size {
			return 0, io.EOF
		}
		return size - sent, nil
	}
}

// inSteps is that of one that grows by step bytes at a time, and ends with err
// at the size.
func inSteps(size, step int64, err error) func(int64) (int64, error) {
	return func(sent int64) (int64, error) {
		if sent == size {
			return 0, err
		}
		return min(step, size-sent), nil
	}
}

// layerFile returns the layer in a file of its own descriptor.
func layerFile(t testing.TB) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "layer")
	if err := os.WriteFile(name, layer, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// hits is a cache that has the layer in a file. What it hands out is in bodies.
type hits struct {
	t      testing.TB
	ready  func(size int64) func(int64) (int64, error) // nil: all there
	size   int64                                       // to declare; 0 is the layer's own
	bodies []*diskBody
}

func (f *hits) Fetch(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
	resp := blobResponse(req)
	resp.Attempts, resp.Cache = nil, pullchain.CacheHit
	if f.size != 0 {
		resp.Size = f.size
	}
	size := length(&resp)
	ready := upTo(size)
	if f.ready != nil {
		ready = f.ready(size)
	}
	body := &diskBody{file: layerFile(f.t), from: resp.Range.From, ready: ready}
	f.bodies = append(f.bodies, body)
	resp.Body = body
	return resp, nil
}

// A hit goes out whole, in parts and not at all, as over every protocol.
func TestSections(t *testing.T) {
	t.Parallel()
	const tag = `"sha256:0000000000000000000000000000000000000000000000000000000000000000"`
	tests := []struct {
		name, method string
		header       []string
		status       int
		body         []byte
	}{
		{"whole", "GET", nil, 200, layer},
		{"a part", "GET", []string{"Range: bytes=5-700004"}, 206, layer[5:700005]},
		{"a small part", "GET", []string{"Range: bytes=100-199"}, 206, layer[100:200]},
		{"the end", "GET", []string{"Range: bytes=1000000-"}, 206, layer[1000000:]},
		{"the last bytes", "GET", []string{"Range: bytes=-70000"}, 206, layer[len(layer)-70000:]},
		{"If-Range that holds", "GET", []string{"Range: bytes=9-", "If-Range: " + etag(layerDigest)}, 206, layer[9:]},
		{"If-Range of something else", "GET", []string{"Range: bytes=9-", "If-Range: " + tag}, 200, layer},
		{"HEAD", "HEAD", nil, 200, nil},
		{"known", "GET", []string{"If-None-Match: " + etag(layerDigest)}, 304, nil},
		{"not known", "GET", []string{"If-None-Match: " + tag}, 200, layer},
	}
	for _, proto := range []string{"HTTP/1.1", "TLS", "HTTP/2"} {
		for _, tt := range tests {
			t.Run(proto+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				f := &hits{t: t}
				h, logs := newHandler(t, Config{}, f)
				s := serveAs(t, h, proto)
				g := do(t, s.Client(), tt.method, s.URL+blobPath, tt.header...)
				s.Close()
				if g.Status != tt.status || g.Err != nil || g.Body != string(tt.body) {
					t.Errorf("%d, %d bytes of %d, %v", g.Status, len(g.Body), len(tt.body), g.Err)
				}
				if c := g.Header.Get("Cache-Status"); c != "pullchain; hit" || g.Header.Get("Proxy-Status") != "" {
					t.Errorf("Cache-Status %q", c)
				}
				if n := f.bodies[0].total(); n != int64(len(tt.body)) {
					t.Errorf("%d bytes were said to be sent", n)
				}
				if err := f.bodies[0].file.Close(); err == nil {
					t.Error("the body was not closed")
				}
				line := logs.access(t)[0]
				if line["cache"] != "hit" || line["bytes"] != float64(len(tt.body)) || line["upstream"] != nil || line["trace"] != nil {
					t.Errorf("log %v", line)
				}
			})
		}
	}
}

// serveAs starts a server that speaks one protocol.
func serveAs(t testing.TB, h http.Handler, proto string) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	switch proto {
	case "HTTP/1.1":
		s.Start()
	case "TLS":
		s.StartTLS()
	case "HTTP/2":
		s.EnableHTTP2 = true
		s.StartTLS()
	}
	t.Cleanup(func() {
		s.Client().CloseIdleConnections()
		s.Close()
	})
	return s
}

// A fill that grows by little, one of unknown size, and HTTP/1.0.
func TestSectionsThatGrow(t *testing.T) {
	t.Parallel()
	for _, step := range []int64{1000, copySize, copySize + 1, 300_000} {
		for _, size := range []int64{0, -1} {
			t.Run(fmt.Sprintf("by %d, size %d", step, size), func(t *testing.T) {
				t.Parallel()
				f := &hits{t: t, size: size, ready: func(int64) func(int64) (int64, error) {
					return inSteps(int64(len(layer)), step, io.EOF)
				}}
				h, _ := newHandler(t, Config{}, f)
				for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
					s := serveAs(t, h, proto)
					if g := do(t, s.Client(), "GET", s.URL+blobPath); g.Err != nil || g.Body != string(layer) {
						t.Errorf("%s: %d bytes, %v", proto, len(g.Body), g.Err)
					}
				}
				s := serve(t, h)
				g := rawRequest(t, s.Listener.Addr().String(), "GET "+blobPath+" HTTP/1.0\r\n\r\n")
				if g.Err != nil || g.Body != string(layer) {
					t.Errorf("HTTP/1.0: %d bytes, %v", len(g.Body), g.Err)
				}
			})
		}
	}
}

// F20: a body that breaks its word never looks whole, and not one byte goes out
// that it did not allow.
func TestF20SectionsNeverLookWhole(t *testing.T) {
	t.Parallel()
	wrong := &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeDigestMismatch, Upstream: "mirror"}
	const whole = 1_600_000
	tests := []struct {
		name  string
		size  int64 // declared
		ready func(int64) (int64, error)
		sent  int // bytes that may reach the client
	}{
		{"fails midway", whole, inSteps(700_001, 10_000, errCut), 700_001},
		{"fails at the hold-back", whole, inSteps(whole-64<<10, whole, wrong), whole - 64<<10},
		{"fails midway, of unknown size", -1, inSteps(700_001, 10_000, wrong), 700_001},
		{"ends early", whole, upTo(whole - 1), whole - 1},
		{"goes on", 1_000_000, upTo(whole), 0},
		{"goes on after a while", 1_000_000, inSteps(whole, 300_000, io.EOF), 900_000},
		{"is ready with nothing", whole, func(sent int64) (int64, error) { return min(5000, 100_000-sent), nil }, 100_000},
		{"has a file that is too short", whole + 5, upTo(whole + 5), whole},
	}
	for _, tt := range tests {
		for _, proto := range []string{"HTTP/1.1", "TLS", "HTTP/2"} {
			t.Run(proto+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				f := &hits{t: t, size: tt.size, ready: func(int64) func(int64) (int64, error) { return tt.ready }}
				h, logs := newHandler(t, Config{}, f)
				s := serveAs(t, h, proto)
				g := do(t, s.Client(), "GET", s.URL+blobPath)
				s.Close()
				if tt.sent == 0 {
					if g.Status != http.StatusBadGateway || decodeError(t, g.Body).Code != "UNKNOWN" {
						t.Errorf("%d %s", g.Status, g.Body)
					}
				} else if g.Status != 200 || g.Err == nil {
					t.Errorf("%d: a whole answer of %d bytes", g.Status, len(g.Body))
				}
				if !strings.HasPrefix(string(layer), g.Body) && tt.sent != 0 || len(g.Body) > tt.sent && tt.sent != 0 {
					t.Errorf("%d bytes came, %d were allowed", len(g.Body), tt.sent)
				}
				if proto == "HTTP/1.1" && tt.sent != 0 && len(g.Body) != tt.sent {
					t.Errorf("%d bytes came, want all of the %d that were allowed", len(g.Body), tt.sent)
				}
				if line := logs.access(t)[0]; line["level"] != "WARN" || line["error"] == nil {
					t.Errorf("log %v", line)
				}
			})
		}
	}
}

// F18: a fill that cannot be finished ends short and in order, as a stream does.
func TestF18CutSectionsEndByFIN(t *testing.T) {
	t.Parallel()
	const cut = 1_400_003
	h, _ := newHandler(t, Config{}, &hits{t: t, ready: func(int64) func(int64) (int64, error) { return inSteps(cut, 500_000, errCut) }})
	s := serve(t, h)
	g := rawRequest(t, s.Listener.Addr().String(), "GET "+blobPath+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if g.Err != nil || g.Body != string(layer[:cut]) {
		t.Errorf("%d bytes, ended with %v", len(g.Body), g.Err)
	}
	secure := serveAs(t, h, "TLS")
	if g := rawBlobOverTLS(t, secure); g.Err != nil || g.Body != string(layer[:cut]) {
		t.Errorf("TLS: %d bytes, ended with %v", len(g.Body), g.Err)
	}
}

// The headers wait for the first bytes, so that failing before them is said in
// words.
func TestSectionsFailBeforeTheFirstByte(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, Config{}, &hits{t: t, ready: func(int64) func(int64) (int64, error) { return inSteps(0, 1, errCut) }})
	s := serve(t, h)
	g := do(t, s.Client(), "GET", s.URL+blobPath)
	if e := decodeError(t, g.Body); g.Status != 503 || e.Code != "UNAVAILABLE" || g.Header.Get("Etag") != "" || g.Header.Get("Cache-Status") != "" {
		t.Errorf("%d %+v %v", g.Status, e, g.Header)
	}
}

// A refetch puts another file under the body.
func TestSectionsChangeTheirFile(t *testing.T) {
	t.Parallel()
	for _, proto := range []string{"HTTP/1.1", "TLS"} {
		const first = 600_000
		h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
			resp := blobResponse(req)
			body := &diskBody{file: layerFile(t)}
			body.ready = func(sent int64) (int64, error) {
				switch sent {
				case 0:
					return first, nil
				case first:
					body.file.Close()
					body.file = layerFile(t)
				}
				return upTo(int64(len(layer)))(sent)
			}
			resp.Body = body
			return resp, nil
		}})
		s := serveAs(t, h, proto)
		if g := do(t, s.Client(), "GET", s.URL+blobPath); g.Err != nil || g.Body != string(layer) {
			t.Errorf("%s: %d bytes, %v", proto, len(g.Body), g.Err)
		}
	}
}

// readsFrom is a ResponseWriter as net/http's is over TCP.
type readsFrom struct {
	http.ResponseWriter
	sources []io.Reader
	bytes   int64
}

func (w *readsFrom) ReadFrom(src io.Reader) (int64, error) {
	w.sources = append(w.sources, src)
	n, err := io.Copy(io.Discard, src)
	w.bytes += n
	return n, err
}

// What goes to net/http over plain HTTP is a limited *os.File and nothing around
// it: net makes a sendfile of no other reader.
func TestSectionsGoBySendfile(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, Config{}, &hits{t: t})
	for _, secure := range []bool{false, true} {
		r := httptest.NewRequest("GET", blobPath, nil)
		r.Host = "localhost"
		if secure {
			r.TLS = &tls.ConnectionState{}
		}
		w := &readsFrom{ResponseWriter: httptest.NewRecorder()}
		h.ServeHTTP(w, r)
		if secure {
			if len(w.sources) != 0 {
				t.Error("a TLS connection was given a file")
			}
			continue
		}
		if w.bytes != int64(len(layer)) || len(w.sources) != 2 { // two pieces of the pace
			t.Errorf("%d bytes in %d pieces", w.bytes, len(w.sources))
		}
		for _, src := range w.sources {
			limited, ok := src.(*io.LimitedReader)
			if !ok {
				t.Fatalf("%T", src)
			}
			if _, ok := limited.R.(*os.File); !ok {
				t.Errorf("%T", limited.R)
			}
		}
	}
}

// F32 on the clock, for files: too slow is dropped, slow is not.
func TestF32SlowClientOfAFile(t *testing.T) {
	for _, tt := range []struct {
		perSecond int
		whole     bool
	}{{10 << 10, false}, {20 << 10, true}} {
		t.Run(fmt.Sprint(tt.perSecond), func(t *testing.T) {
			f := &hits{t: t}
			inBubble(t, Config{}, f, func(t *testing.T, dial func() net.Conn, logs *logLines) {
				start := time.Now()
				conn := dial()
				defer conn.Close()
				fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", blobPath)
				total, err := 0, error(nil)
				for buf := make([]byte, tt.perSecond); err == nil; {
					var n int
					n, err = io.ReadFull(conn, buf)
					total += n
					time.Sleep(time.Second)
				}
				synctest.Wait()
				took, line := time.Since(start), logs.access(t)[0]
				if tt.whole && (total < len(layer) || took < 70*time.Second || line["status"] != 200.0) {
					t.Errorf("%d bytes in %s: %v", total, took, line)
				}
				if !tt.whole && (total >= len(layer) || took < 58*time.Second || took > 65*time.Second || line["status"] != 499.0) {
					t.Errorf("%d bytes in %s: %v", total, took, line)
				}
			})
		})
	}
}

// The same by sendfile, on a real connection with a short pace: what was sent is
// counted to the byte, and the body closed.
func TestF32SlowClientOfASendfile(t *testing.T) {
	t.Parallel()
	const size = 64 << 20 // more than any socket's buffers
	file, err := os.Create(filepath.Join(t.TempDir(), "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	body := &diskBody{file: file, ready: upTo(size), closed: func() { close(closed) }}
	h, logs := newHandler(t, Config{}, blobWith(size, func() pullchain.Body { return body }))
	h.pace = 3 * time.Second // something is to be sent in it
	s := serve(t, h)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(16 << 10)
	start := time.Now()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", blobPath)
	<-closed
	if took := time.Since(start); took < h.pace {
		t.Errorf("dropped after %s", took)
	}
	conn.SetReadDeadline(time.Now().Add(ioPatience))
	got := readRaw(t, conn)
	s.Close()
	sent := body.total()
	if sent == 0 || sent >= size || int64(len(got.Body)) > sent {
		t.Errorf("%d bytes were said to be sent, %d came", sent, len(got.Body))
	}
	if line := logs.access(t)[0]; line["status"] != 499.0 || line["bytes"] != float64(sent) {
		t.Errorf("log %v, want %d bytes", line, sent)
	}
}

// F31: a client that leaves while it waits for bytes ends the wait, and the body
// is closed once.
func TestF31ClientLeavesAFile(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	h, logs := newHandler(t, Config{}, &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp := blobResponse(req)
		resp.Body = &diskBody{
			file: layerFile(t),
			ready: func(sent int64) (int64, error) {
				if sent == 0 {
					return 200_000, nil
				}
				<-ctx.Done()
				return 0, ctx.Err()
			},
			closed: func() { close(closed) }, // panics if closed twice
		}
		return resp, nil
	}})
	s := serve(t, h)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", blobPath)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, 200_000); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	<-closed
	s.Close()
	if line := logs.access(t)[0]; line["level"] != "DEBUG" || line["status"] != 499.0 || line["bytes"] != 200_000.0 {
		t.Errorf("log %v", line)
	}
}

// What may come late does not keep the headers: a client that waits for them gives up.
func TestLateSectionsSendTheirHeadersFirst(t *testing.T) {
	t.Parallel()
	for _, proved := range []bool{true, false} {
		t.Run(fmt.Sprint("proved ", proved), func(t *testing.T) {
			t.Parallel()
			ready := make(chan struct{})
			f := &fakeFetcher{fetch: func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
				resp := blobResponse(req)
				resp.Unproved = true
				resp.Body = &diskBody{file: layerFile(t), ready: func(sent int64) (int64, error) {
					<-ready
					if !proved {
						return 0, errCut
					}
					return upTo(int64(len(layer)))(sent)
				}}
				return resp, nil
			}}
			h, _ := newHandler(t, Config{}, f)
			s := serve(t, h)
			resp, err := http.Get(s.URL + blobPath) // returns with the headers
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != 200 || resp.ContentLength != int64(len(layer)) {
				t.Errorf("%d, %d bytes", resp.StatusCode, resp.ContentLength)
			}
			close(ready)
			got, err := io.ReadAll(resp.Body)
			if proved && (err != nil || string(got) != string(layer)) || !proved && err == nil {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}
