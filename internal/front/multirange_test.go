package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// ranged answers ranges of the layer as a chain does, those beyond the end too. A
// change may spoil a part.
func ranged(change func(req pullchain.Request, resp *pullchain.Response)) func(context.Context, pullchain.Request) (pullchain.Response, error) {
	return func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		if req.Op != pullchain.Blob {
			return healthy(ctx, req)
		}
		abs, ok := wire.ResolveRange(req.Range, int64(len(layer)))
		if !ok {
			return pullchain.Response{}, &pullchain.Error{
				Reason: pullchain.Invalid, Code: pullchain.CodeWrongRange, Status: http.StatusRequestedRangeNotSatisfiable, Size: int64(len(layer)),
			}
		}
		if !req.Range.Whole() {
			req.Range = abs
		}
		resp := blobResponse(req)
		if change != nil {
			change(req, &resp)
		}
		return resp, nil
	}
}

// partsOf reads an answer of several parts, each as its range and its bytes.
func partsOf(t *testing.T, g got) (parts []string) {
	t.Helper()
	kind, params, err := mime.ParseMediaType(g.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/byteranges" {
		t.Fatalf("type %q: %v", g.Header.Get("Content-Type"), err)
	}
	r := multipart.NewReader(strings.NewReader(g.Body), params["boundary"])
	for {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return parts
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		if kind := p.Header.Get("Content-Type"); kind != "application/octet-stream" {
			t.Errorf("a part of type %q", kind)
		}
		parts = append(parts, p.Header.Get("Content-Range")+" "+string(body))
	}
}

// wantParts are the parts that ranges of the layer should make.
func wantParts(ranges ...pullchain.Range) (parts []string) {
	for _, r := range ranges {
		parts = append(parts, wire.ContentRange{Range: r, Total: int64(len(layer))}.String()+" "+string(layer[r.From:r.To]))
	}
	return parts
}

func TestSeveralRanges(t *testing.T) {
	t.Parallel()
	const end = 1_600_000
	span := func(from, to int64) pullchain.Range { return pullchain.Range{From: from, To: to} }
	hundred, more := "bytes=0-9", "bytes=0-9"
	var tens []pullchain.Range
	for i := range int64(100) {
		if i > 0 {
			hundred += fmt.Sprintf(",%d-%d", 20*i, 20*i+9)
		}
		tens = append(tens, span(20*i, 20*i+10))
		more += fmt.Sprintf(",%d-%d", 20*i+20, 20*i+29)
	}
	etagLine := "If-Range: " + etag(layerDigest)
	tests := []struct {
		name   string
		header []string
		status int
		parts  []pullchain.Range // of a 206; one is an ordinary one
	}{
		{"two", []string{"Range: bytes=0-99,200-299"}, 206, []pullchain.Range{span(0, 100), span(200, 300)}},
		{"long ones", []string{"Range: bytes=5-700004,800000-1500000"}, 206, []pullchain.Range{span(5, 700005), span(800000, 1500001)}},
		{"not in order", []string{"Range: bytes=200-299, 0-99"}, 206, []pullchain.Range{span(200, 300), span(0, 100)}},
		{"touching", []string{"Range: bytes=0-99,100-199,200-200"}, 206, []pullchain.Range{span(0, 100), span(100, 200), span(200, 201)}},
		{"overlapping", []string{"Range: bytes=0-99,50-149"}, 206, []pullchain.Range{span(0, 100), span(50, 150)}},
		{"an end and a suffix", []string{"Range: bytes=1599990-,-3,7-7"}, 206, []pullchain.Range{span(1599990, end), span(1599997, end), span(7, 8)}},
		{"one that ends beyond the end", []string{"Range: bytes=0-1,1599999-1700000"}, 206, []pullchain.Range{span(0, 2), span(1599999, end)}},
		{"one beyond the end", []string{"Range: bytes=0-1,1600000-,4-5"}, 206, []pullchain.Range{span(0, 2), span(4, 6)}},
		{"the first beyond the end", []string{"Range: bytes=1600000-,0-1,4-5"}, 206, []pullchain.Range{span(0, 2), span(4, 6)}},
		{"all but one beyond the end", []string{"Range: bytes=4-5,1600000-,-0"}, 206, []pullchain.Range{span(4, 6)}},
		{"all but the last beyond the end", []string{"Range: bytes=1600000-,1700000-1700001,4-5"}, 206, []pullchain.Range{span(4, 6)}},
		{"all beyond the end", []string{"Range: bytes=1600000-,1700000-1700001"}, 416, nil},
		{"a hundred", []string{"Range: " + hundred}, 206, tens},
		{"more than a hundred", []string{"Range: " + more}, 200, nil},
		{"longer than the whole", []string{"Range: bytes=0-1000000,0-1000000"}, 200, nil},
		{"the whole and more", []string{"Range: bytes=0-,0-1"}, 200, nil},
		{"garbage among them", []string{"Range: bytes=0-1,x-2"}, 200, nil},
		{"another unit", []string{"Range: items=0-1,3-4"}, 200, nil},
		{"two headers", []string{"Range: bytes=0-1", "Range: bytes=3-4"}, 200, nil},
		{"If-Range that holds", []string{"Range: bytes=0-1,4-5", etagLine}, 206, []pullchain.Range{span(0, 2), span(4, 6)}},
		{"If-Range that does not", []string{"Range: bytes=0-1,4-5", `If-Range: "other"`}, 200, nil},
	}
	f := &fakeFetcher{fetch: ranged(nil)}
	h, _ := newHandler(t, Config{}, f)
	s := serve(t, h)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := do(t, s.Client(), "GET", s.URL+blobPath, tt.header...)
			if g.Status != tt.status || g.Err != nil {
				t.Fatalf("status %d, %v; want %d", g.Status, g.Err, tt.status)
			}
			if n := g.Header.Get("Content-Length"); n != strconv.Itoa(len(g.Body)) {
				t.Errorf("Content-Length %q of %d bytes", n, len(g.Body))
			}
			switch {
			case tt.status == 416:
				if e := decodeError(t, g.Body); e.Code != "RANGE_INVALID" || g.Header.Get("Content-Range") != "bytes */1600000" {
					t.Errorf("%s, Content-Range %q", e.Code, g.Header.Get("Content-Range"))
				}
				return
			case tt.status == 200:
				if g.Body != string(layer) {
					t.Errorf("%d bytes, want the whole", len(g.Body))
				}
			case len(tt.parts) == 1:
				if got := g.Header.Get("Content-Range") + " " + g.Body; got != wantParts(tt.parts...)[0] {
					t.Errorf("got %.100q", got)
				}
			default:
				if got := partsOf(t, g); !slices.Equal(got, wantParts(tt.parts...)) {
					t.Errorf("%d parts, want %d: %.300q", len(got), len(tt.parts), got)
				}
				if cr := g.Header.Get("Content-Range"); cr != "" {
					t.Errorf("Content-Range %q beside the parts' own", cr)
				}
			}
			if g.Header.Get("Accept-Ranges") != "bytes" || g.Header.Get("Etag") != etag(layerDigest) || g.Header.Get("Docker-Content-Digest") != layerDigest.String() {
				t.Errorf("headers %v", g.Header)
			}
		})
	}
}

// HEAD has no ranges (RFC 9110 14.2): it tells of the whole.
func TestSeveralRangesOfAHead(t *testing.T) {
	t.Parallel()
	f := &fakeFetcher{fetch: ranged(nil)}
	h, _ := newHandler(t, Config{}, f)
	s := serve(t, h)
	g := do(t, s.Client(), "HEAD", s.URL+blobPath, "Range: bytes=0-99,200-299")
	if g.Status != 200 || g.Header.Get("Content-Length") != "1600000" || g.Header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("%d %v", g.Status, g.Header)
	}
	if asked := f.ledger(); len(asked) != 1 || !asked[0].Range.Whole() {
		t.Errorf("the chain was asked %+v", asked)
	}
}

// The chain sees single ranges, one after the other, and the next only when the client
// has the last.
func TestSeveralRangesAreAskedOneByOne(t *testing.T) {
	t.Parallel()
	var open, most int
	f := &fakeFetcher{}
	f.fetch = ranged(func(_ pullchain.Request, resp *pullchain.Response) {
		open++
		most = max(most, open)
		body := resp.Body
		resp.Body = &fakeBody{read: body.Read, closed: func() { open-- }}
	})
	h, _ := newHandler(t, Config{}, f)
	s := serve(t, h)
	g := do(t, s.Client(), "GET", s.URL+blobPath, "Range: bytes=0-99,-100,200-")
	if parts := partsOf(t, g); len(parts) != 3 && g.Status != 200 {
		t.Errorf("%d with %d parts", g.Status, len(parts))
	}
	var asked []pullchain.Range
	for _, req := range f.ledger() {
		asked = append(asked, req.Range)
	}
	want := []pullchain.Range{{From: 0, To: 100}, {From: 1599900, To: 1600000}, {From: 200, To: 1600000}}
	if !slices.Equal(asked, want) || most != 1 || open != 0 {
		t.Errorf("asked for %v, %d at once, %d left open; want %v one by one", asked, most, open, want)
	}
}

// A failure before the first byte is an answer in words; one after it never looks
// like all of it, by HTTP/1.1 and by HTTP/1.0.
func TestSeveralRangesThatFail(t *testing.T) {
	t.Parallel()
	down := &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError, Upstream: "docker-hub", Status: 503}
	failsAt := func(from int64, how func(resp *pullchain.Response) error) func(context.Context, pullchain.Request) (pullchain.Response, error) {
		return func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			resp, err := ranged(nil)(ctx, req)
			if err == nil && req.Range.From == from {
				err = how(&resp)
			}
			return resp, err
		}
	}
	cut := func(resp *pullchain.Response) error {
		body := resp.Body
		resp.Body = &fakeBody{read: func(p []byte) (int, error) {
			if n, err := body.Read(p[:min(len(p), 10)]); err == nil && n < 10 {
				return n, nil
			}
			return 0, errors.New("cut")
		}}
		return nil
	}
	tests := []struct {
		name  string
		from  int64
		how   func(resp *pullchain.Response) error
		words bool
	}{
		{"the first is refused", 0, func(*pullchain.Response) error { return down }, true},
		{"the first fails before a byte", 0, cut, true},
		{"the second is refused", 200, func(*pullchain.Response) error { return down }, false},
		{"the second fails in its middle", 200, cut, false},
		{"the last is refused", 400, func(*pullchain.Response) error { return down }, false},
		{"another size", 200, func(r *pullchain.Response) error { r.Size++; return nil }, false},
		{"another part", 200, func(r *pullchain.Response) error { r.Range.From--; r.Range.To--; return nil }, false},
		{"a shorter part", 200, func(r *pullchain.Response) error { r.Range.To--; return nil }, false},
		{"the whole in its place", 200, func(r *pullchain.Response) error { *r = blobResponse(pullchain.Request{}); return nil }, false},
	}
	for _, tt := range tests {
		for _, proto := range []string{"1.0", "1.1"} {
			t.Run(tt.name+" by "+proto, func(t *testing.T) {
				t.Parallel()
				h, logs := newHandler(t, Config{}, &fakeFetcher{fetch: failsAt(tt.from, tt.how)})
				addr, _ := start(t, Config{}, h)
				g := rawRequest(t, addr, "GET "+blobPath+" HTTP/"+proto+"\r\nHost: localhost\r\nConnection: close\r\nRange: bytes=0-99,200-299,400-499\r\n\r\n")
				if tt.words {
					if g.Status != 503 || g.Err != nil {
						t.Errorf("%d %v, want words", g.Status, g.Err)
					}
					decodeError(t, g.Body)
					return
				}
				if n, err := strconv.Atoi(g.Header.Get("Content-Length")); g.Status != 206 || err != nil || len(g.Body) >= n {
					t.Errorf("%d with %d of %s bytes, want fewer", g.Status, len(g.Body), g.Header.Get("Content-Length"))
				}
				if !strings.Contains(g.Body, string(layer[:100])) || strings.HasSuffix(g.Body, "--\r\n") {
					t.Errorf("what came before the failure: %.300q", g.Body)
				}
				if line := logs.access(t)[0]; line["level"] != "WARN" || line["error"] == nil || line["parts"] != 3.0 {
					t.Errorf("the log has %v", line)
				}
			})
		}
	}
}

// Without a length, what fails is chunks without a last one, and by HTTP/1.0 a reset.
func TestSeveralRangesOfUnknownSizeThatFail(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		if req.Range.From != 0 {
			return pullchain.Response{}, &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError}
		}
		resp, err := ranged(nil)(ctx, req)
		resp.Size = -1
		return resp, err
	}})
	addr, _ := start(t, Config{}, h)
	for _, proto := range []string{"1.0", "1.1"} {
		g := rawRequest(t, addr, "GET "+blobPath+" HTTP/"+proto+"\r\nHost: localhost\r\nRange: bytes=0-99,200-299\r\n\r\n")
		if reset := g.Err != nil; reset != (proto == "1.0") || strings.HasSuffix(g.Body, "0\r\n\r\n") || g.Header.Get("Content-Length") != "" {
			t.Errorf("by %s: %d, %v, %.300q", proto, g.Status, g.Err, g.Body)
		}
	}
}

// What does not know its size has parts all the same, and one beyond the end shows
// late.
func TestSeveralRangesOfUnknownSize(t *testing.T) {
	t.Parallel()
	fetch := func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp, err := ranged(nil)(ctx, req)
		if e := errorOf(err); err != nil {
			e.Size = 0
		}
		resp.Size = -1
		return resp, err
	}
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: fetch})
	s := serve(t, h)
	g := do(t, s.Client(), "GET", s.URL+blobPath, "Range: bytes=1700000-,0-99,1600000-,-100")
	var want []string
	for _, r := range []pullchain.Range{{From: 0, To: 100}, {From: 1599900, To: 1600000}} {
		want = append(want, fmt.Sprintf("bytes %d-%d/* %s", r.From, r.To-1, layer[r.From:r.To]))
	}
	if got := partsOf(t, g); g.Status != 206 || !slices.Equal(got, want) {
		t.Errorf("%d %.300q", g.Status, got)
	}
}

// Parts of a stored blob go out of its file.
func TestSeveralRangesOfAStoredBlob(t *testing.T) {
	t.Parallel()
	f := &hits{t: t}
	h, _ := newHandler(t, Config{}, f)
	s := serve(t, h)
	g := do(t, s.Client(), "GET", s.URL+blobPath, "Range: bytes=5-700004,1000000-1000099,-70000")
	want := wantParts(pullchain.Range{From: 5, To: 700005}, pullchain.Range{From: 1000000, To: 1000100}, pullchain.Range{From: 1530000, To: 1600000})
	if got := partsOf(t, g); g.Status != 206 || !slices.Equal(got, want) {
		t.Errorf("%d with %d parts", g.Status, len(got))
	}
}

// A part of a manifest is cut from the whole, which is what the chain is asked for.
func TestRangeOfAManifest(t *testing.T) {
	t.Parallel()
	const size = len(manifestBytes)
	f := &fakeFetcher{fetch: healthy}
	h, _ := newHandler(t, Config{}, f)
	s := serve(t, h)
	tests := []struct {
		name   string
		method string
		header []string
		status int
		body   string
		cr     string
	}{
		{"from the start", "GET", []string{"Range: bytes=0-"}, 206, manifestBytes, fmt.Sprintf("bytes 0-%d/%d", size-1, size)},
		{"from the middle", "GET", []string{"Range: bytes=5-"}, 206, manifestBytes[5:], fmt.Sprintf("bytes 5-%d/%d", size-1, size)},
		{"a part", "GET", []string{"Range: bytes=2-4"}, 206, manifestBytes[2:5], fmt.Sprintf("bytes 2-4/%d", size)},
		{"the end", "GET", []string{"Range: bytes=-3"}, 206, manifestBytes[size-3:], fmt.Sprintf("bytes %d-%d/%d", size-3, size-1, size)},
		{"beyond the end", "GET", []string{"Range: bytes=99-"}, 416, "", fmt.Sprintf("bytes */%d", size)},
		{"several", "GET", []string{"Range: bytes=0-1,3-4"}, 200, manifestBytes, ""},
		{"If-Range that holds", "GET", []string{"Range: bytes=5-", "If-Range: " + etag(manifestDigest)}, 206, manifestBytes[5:], fmt.Sprintf("bytes 5-%d/%d", size-1, size)},
		{"If-Range that does not", "GET", []string{"Range: bytes=5-", `If-Range: "other"`}, 200, manifestBytes, ""},
		{"known already", "GET", []string{"Range: bytes=5-", "If-None-Match: " + etag(manifestDigest)}, 304, "", ""},
		{"HEAD", "HEAD", []string{"Range: bytes=5-"}, 200, "", ""},
	}
	for _, tt := range tests {
		g := do(t, s.Client(), tt.method, s.URL+"/v2/alpine/manifests/1", tt.header...)
		if g.Status != tt.status || g.Status != 416 && g.Body != tt.body || g.Header.Get("Content-Range") != tt.cr {
			t.Errorf("%s: %d %q, Content-Range %q; want %d %q %q", tt.name, g.Status, g.Body, g.Header.Get("Content-Range"), tt.status, tt.body, tt.cr)
		}
		if d := g.Header.Get("Docker-Content-Digest"); g.Status != 416 && d != manifestDigest.String() {
			t.Errorf("%s: digest %q", tt.name, d)
		}
		if kind := g.Header.Get("Content-Type"); g.Status == 206 && kind != manifestType {
			t.Errorf("%s: type %q", tt.name, kind)
		}
	}
	for _, req := range f.ledger() {
		if !req.Range.Whole() {
			t.Errorf("the chain was asked for %v of a manifest", req.Range)
		}
	}
}
