package daemon_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
)

// trio is a chain of three: a cuts big's layer at cutAt, b is what is tested,
// c is in order.
type trio struct {
	*pair
	c *simnet.Mirror
}

func newTrio(t *testing.T, known bool) *trio {
	t.Helper()
	x := &trio{}
	x.pair = newBig(t, known, func(cfg *rigConfig) {
		x.c = cfg.Net.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "c"}, Images: []simnet.Image{big}})
		cfg.Chain = append(cfg.Chain, lane{Name: "c", URL: x.c.URL()})
	})
	x.a.Inject(simnet.Fault{On: simnet.Blobs, Cut: simnet.EndFIN, CutAt: cutAt, Times: 1})
	return x
}

// An upstream that ignores the range of a resume, or answers another one, puts
// no wrong byte into the stream.
func TestF46_RangeOfAResume(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault   simnet.Fault
		known   bool
		serves  string         // goes on from a
		code    pullchain.Code // why b did not; "" if it did
		ignores bool           // b is known not to do ranges from now on
	}{
		"ignored":                    {simnet.Fault{IgnoreRange: true}, true, "b", "", true},
		"ignored, without a length":  {simnet.Fault{IgnoreRange: true, NoLength: true}, true, "b", "", true},
		"another start":              {simnet.Fault{RangeShift: -512}, true, "b, asked for the whole", "", true},
		"an end beyond the end":      {simnet.Fault{RangeShift: 512}, true, "b, asked for the whole", "", true},
		"another total":              {simnet.Fault{TotalShift: 5}, true, "c", pullchain.CodeWrongSize, false},
		"another total, none known":  {simnet.Fault{TotalShift: 5}, false, "c", pullchain.CodeWrongSize, false},
		"a 206 without a range":      {simnet.Fault{Header: map[string]string{"Content-Range": ""}}, true, "b, asked for the whole", "", true},
		"several ranges in one body": {simnet.Fault{Header: map[string]string{"Content-Type": "multipart/byteranges; boundary=x"}}, true, "b, asked for the whole", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTrio(t, tc.known)
			tc.fault.On = simnet.Blobs
			x.b.Inject(tc.fault)
			path, content := x.layer()
			x.wantBytes(path, content)
			asked := 1
			if tc.serves == "b, asked for the whole" { // where the part was botched (docs/faults.md 0.4)
				asked = 2
			}
			x.wantAsked("b", http.MethodGet, simnet.Blobs, asked)
			b := x.lane("b")
			if b.IgnoresRange != tc.ignores {
				t.Errorf("b is taken to ignore ranges: %t, want %t", b.IgnoresRange, tc.ignores)
			}
			if !tc.known { // it is a's word against b's: neither is quarantined for it
				x.wantOpen("b", "blob")
			}
			if tc.serves != "c" {
				x.wantAsked("c", http.MethodGet, simnet.Blobs, 0)
				return
			}
			x.wantResumed("c", cutAt, cutAt)
			if b.LastError == nil || b.LastError.Code != tc.code {
				t.Errorf("b's last error is %+v, want %s", b.LastError, tc.code)
			}
		})
	}
}

// A path that has ignored a range comes after the others for ranges, and keeps
// its place for whole blobs.
func TestF46_IgnoringRangesIsRemembered(t *testing.T) {
	t.Parallel()
	p := newBig(t, true, nil)
	p.a.Inject(simnet.Fault{On: simnet.Blobs, IgnoreRange: true})
	path, content := p.layer()
	for range 2 {
		got := p.get(path, "Range", "bytes=1000-300999")
		if got.Status != http.StatusPartialContent || !bytes.Equal(got.Body, content[1000:301000]) {
			t.Fatalf("status %d with %d bytes, want 206 with 300000", got.Status, len(got.Body))
		}
		if want := fmt.Sprintf("bytes 1000-300999/%d", len(content)); got.Header.Get("Content-Range") != want {
			t.Errorf("Content-Range %q, want %q", got.Header.Get("Content-Range"), want)
		}
	}
	p.wantAsked("a", http.MethodGet, simnet.Blobs, 1)
	p.wantAsked("b", http.MethodGet, simnet.Blobs, 1)
	p.wantBytes(path, content)
	p.wantAsked("a", http.MethodGet, simnet.Blobs, 2)
	p.wantOpen("a", "blob")
}

// A part for a client that asked for the whole is not taken for the whole.
func TestF46_PartForTheWhole(t *testing.T) {
	t.Parallel()
	p := newBig(t, true, nil)
	_, content := p.layer()
	p.a.Inject(simnet.Fault{On: simnet.Blobs, Respond: part(content[:1000], 0, int64(len(content)))})
	path, _ := p.layer()
	p.wantCode(p.wantBytes(path, content), "a", pullchain.CodeWrongRange)
}

// A resume that is another object, right in everything but its bytes, must not
// end as a whole layer; and since two paths sent parts of it, there is no telling
// which of them lied, so none is quarantined.
func TestF46_SpliceOfAnotherObject(t *testing.T) {
	t.Parallel()
	p := newBig(t, true, nil)
	p.a.Inject(simnet.Fault{On: simnet.Blobs, Cut: simnet.EndFIN, CutAt: cutAt, Times: 1})
	path, content := p.layer()
	other := bytes.Repeat([]byte{'x'}, len(content)-cutAt)
	p.b.Inject(simnet.Fault{On: simnet.Blobs, Respond: part(other, cutAt, int64(len(content)))})
	got := p.get(path)
	p.wantBroken(got, content)
	if int64(len(got.Body)) >= int64(len(content)) {
		t.Errorf("the client holds %d bytes of %d: a complete wrong layer", len(got.Body), len(content))
	}
	p.wantAsked("b", http.MethodGet, simnet.Blobs, 1)
	for _, name := range []string{"a", "b"} {
		p.wantOpen(name, "blob")
	}
	p.b.Clear()
	p.wantBytes(path, content)
}

// part answers 206 with these bytes at an offset of total.
func part(b []byte, from int, total int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, from+len(b)-1, total))
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(b)
	})
}

// A CDN that compresses on its own is undone; the client gets the bytes that
// the digest names, without a Content-Encoding.
func TestF47_GzipIsUndone(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]bool{"size known": true, "size unknown": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newBig(t, false, nil)
			p.a.Inject(simnet.Fault{Gzip: true, On: simnet.Manifests | simnet.Blobs})
			if known {
				p.manifest()
			}
			path, content := p.layer()
			got := p.wantBytes(path, content)
			if enc := got.Header.Get("Content-Encoding"); enc != "" {
				t.Errorf("Content-Encoding %q reached the client", enc)
			}
			if n := got.Header.Get("Content-Length"); known && n != strconv.Itoa(len(content)) {
				t.Errorf("Content-Length %q, want %d", n, len(content))
			}
			p.wantAsked("b", http.MethodGet, simnet.Blobs|simnet.Manifests, 0)
			for _, e := range p.net.Ledger().Find(simnet.Filter{Server: "a", Class: simnet.Blobs}) {
				if e.Header.Get("Accept-Encoding") != "identity" {
					t.Errorf("a was asked with Accept-Encoding %q", e.Header.Get("Accept-Encoding"))
				}
			}
		})
	}
}

// A part of a compressed body is a part of something else.
func TestF47_GzipOfARange(t *testing.T) {
	t.Parallel()
	x := newTrio(t, true)
	x.b.Inject(simnet.Fault{Gzip: true, On: simnet.Blobs})
	path, content := x.layer()
	x.wantBytes(path, content)
	x.wantAsked("b", http.MethodGet, simnet.Blobs, 2) // for the part, and then for the whole
	x.wantAsked("c", http.MethodGet, simnet.Blobs, 0)
	if b := x.lane("b"); !b.IgnoresRange {
		t.Errorf("b is not known to do no ranges: %+v", b)
	}
}

// What cannot be undone is refused before the first byte.
func TestF47_EncodingsThatAreRefused(t *testing.T) {
	t.Parallel()
	// A manifest like any other but for 6 MiB of padding, which make 6 KiB.
	padded := `{"annotations":{"pad":"` + strings.Repeat("0", 6<<20) + `"},` + string(big.Build().Manifest()[1:])
	var small bytes.Buffer
	zw := gzip.NewWriter(&small)
	_, _ = io.WriteString(zw, padded)
	_ = zw.Close()
	bomb := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", simnet.TypeOCIManifest)
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(small.Bytes())
	})
	for name, fault := range map[string]simnet.Fault{
		"brotli":          {Header: map[string]string{"Content-Encoding": "br"}},
		"label without":   {Header: map[string]string{"Content-Encoding": "gzip"}},
		"a bomb":          {Respond: bomb, On: simnet.Manifests},
		"gzip, cut short": {Gzip: true, Cut: simnet.EndClean, CutAt: 100},
	} {
		label := len(fault.Header) > 0 // the bytes are right: a label does not fail them (docs/faults.md 0.1)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newBig(t, false, nil)
			if fault.On == 0 {
				fault.On = simnet.Manifests | simnet.Blobs
			}
			p.a.Inject(fault)
			got := p.manifest()
			if label {
				p.wantServedBy(got, "a")
			} else if !strings.Contains(got.Header.Get("Proxy-Status"), "details=\"a ") || got.servedBy() != "b" {
				t.Errorf("Proxy-Status %q does not say that b served after a failed", got.Header.Get("Proxy-Status"))
			}
			path, content := p.layer()
			p.wantBytes(path, content)
		})
	}
}
