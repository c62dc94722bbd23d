package simnet_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

// A fault row injects a fault and says how a client sees it in a GET of the
// manifest or of the first layer.
type faultRow struct {
	name   string
	fault  simnet.Fault
	blob   bool
	header []string
	see    func(t *testing.T, a answer, whole []byte)
}

// sees checks a status and that all texts are in the status line, headers or body.
func sees(status int, texts ...string) func(*testing.T, answer, []byte) {
	return func(t *testing.T, a answer, _ []byte) {
		t.Helper()
		var dump bytes.Buffer
		_ = a.Header.Write(&dump)
		dump.Write(a.body[:min(len(a.body), 4096)])
		if a.StatusCode != status || a.err != nil {
			t.Errorf("status %s, error %v", a.Status, a.err)
		}
		for _, text := range texts {
			if !strings.Contains(dump.String(), text) {
				t.Errorf("no %q in\n%s", text, dump.String())
			}
		}
	}
}

// cutAt checks that the body ends after n bytes with an error.
func cutAt(n int, want error) func(*testing.T, answer, []byte) {
	return func(t *testing.T, a answer, whole []byte) {
		t.Helper()
		if !bytes.Equal(a.body, whole[:n]) || !errors.Is(a.err, want) {
			t.Errorf("%d bytes and %v, want %d and %v", len(a.body), a.err, n, want)
		}
	}
}

const htmlType = "text/html; charset=UTF-8"

var faultRows = []faultRow{
	{name: "status", fault: simnet.Fault{Status: 503, Body: "down", Header: map[string]string{"Retry-After": "7"}}, see: sees(503, "Retry-After: 7", "down")},
	{name: "TooMany", fault: simnet.TooMany(), see: sees(429, "Content-Length: 0")},
	{name: "TooManyAfter", fault: simnet.TooManyAfter(1500*time.Millisecond, false), see: sees(429, "Retry-After: 2\r", "TOOMANYREQUESTS")},
	{name: "TooManyAfter date", fault: simnet.TooManyAfter(time.Hour, true), see: sees(429, "Retry-After: ", " GMT")},
	{name: "HubQuota429", fault: simnet.HubQuota429(), see: sees(429, "0;w=21600", `"TOOMANYREQUESTS"`, "pull rate limit")},
	{name: "HAP429", fault: simnet.HAP429(), see: sees(429, "text/plain", "Too Many Requests (HAP429).")},
	{name: "GHCR429", fault: simnet.GHCR429(), see: sees(429, "retry-after: 1.16ms, allowed: 44000/minute")},
	{name: "Cloudflare1015", fault: simnet.Cloudflare1015(), see: sees(429, htmlType, "Error 1015", "Cf-Ray: ")},
	{name: "Cloudflare1027", fault: simnet.Cloudflare1027(), see: sees(429, htmlType, "Error 1027")},
	{name: "Cloudflare 530", fault: simnet.Cloudflare(530, "1016"), see: sees(530, "Error 1016")},
	{name: "HTML200", fault: simnet.HTML200(), see: sees(200, htmlType, "<!DOCTYPE html>")},
	{name: "WrongType", fault: simnet.WrongType("text/plain"), see: sees(200, "Content-Type: text/plain", `"schemaVersion":2`)},
	{name: "WrongDigest", fault: simnet.WrongDigest(), see: sees(200, "Docker-Content-Digest: sha256:0000", `"schemaVersion":2`)},
	{name: "ExpiredURL", fault: simnet.ExpiredURL(), blob: true, see: sees(403, "application/xml", "Request has expired")},
	{name: "HugeManifest", fault: simnet.HugeManifest(9<<20, true), see: func(t *testing.T, a answer, _ []byte) {
		if a.ContentLength != 9<<20 || len(a.body) != 9<<20 || a.err != nil {
			t.Errorf("length %d, %d bytes, %v", a.ContentLength, len(a.body), a.err)
		}
	}},
	{name: "HugeManifest chunked", fault: simnet.HugeManifest(9<<20, false), see: func(t *testing.T, a answer, _ []byte) {
		if a.ContentLength != -1 || len(a.body) != 9<<20 || a.err != nil {
			t.Errorf("length %d, %d bytes, %v", a.ContentLength, len(a.body), a.err)
		}
	}},
	{name: "HugeBody", fault: simnet.HugeBody(1 << 20), see: func(t *testing.T, a answer, _ []byte) {
		if len(a.body) != 1<<20 || a.err != nil {
			t.Errorf("%d bytes, %v", len(a.body), a.err)
		}
	}},
	{name: "HeaderBytes", fault: simnet.Fault{HeaderBytes: 100_000}, see: func(t *testing.T, a answer, _ []byte) {
		var dump bytes.Buffer
		_ = a.Header.Write(&dump)
		if dump.Len() < 100_000 {
			t.Errorf("%d bytes of headers", dump.Len())
		}
	}},
	{name: "DateSkew", fault: simnet.Fault{DateSkew: -time.Hour}, see: func(t *testing.T, a answer, _ []byte) {
		if at, err := http.ParseTime(a.Header.Get("Date")); err != nil || time.Since(at) < 59*time.Minute {
			t.Errorf("Date %q", a.Header.Get("Date"))
		}
	}},
	{name: "RedirectTo", fault: simnet.RedirectTo("http://169.254.169.254/latest"), see: sees(307, "Location: http://169.254.169.254/latest")},
	{name: "RedirectLoop", fault: simnet.RedirectLoop(), see: sees(307, "Location: /v2/library/alpine/manifests/3")},
	{name: "RedirectChain", fault: simnet.RedirectChain(), see: sees(307, "Location: /v2/library/alpine/manifests/3?hop=1")},
	{name: "IgnoreRange", fault: simnet.Fault{IgnoreRange: true}, blob: true, header: []string{"Range", "bytes=5-9"}, see: func(t *testing.T, a answer, whole []byte) {
		if a.StatusCode != 200 || !bytes.Equal(a.body, whole) {
			t.Errorf("%s, %d bytes", a.Status, len(a.body))
		}
	}},
	{name: "RangeShift", fault: simnet.Fault{RangeShift: 3}, blob: true, header: []string{"Range", "bytes=5-9"}, see: sees(206, "Content-Range: bytes 8-12/")},
	{name: "TotalShift", fault: simnet.Fault{TotalShift: 1}, blob: true, header: []string{"Range", "bytes=5-9"}, see: func(t *testing.T, a answer, whole []byte) {
		sees(206, "Content-Range: bytes 5-9/"+strconv.Itoa(len(whole)+1))(t, a, whole)
	}},
	{name: "LengthShift more", fault: simnet.Fault{LengthShift: 10}, blob: true, see: func(t *testing.T, a answer, whole []byte) {
		cutAt(len(whole), io.ErrUnexpectedEOF)(t, a, whole)
	}},
	{name: "LengthShift less", fault: simnet.Fault{LengthShift: -10}, blob: true, see: func(t *testing.T, a answer, whole []byte) {
		cutAt(len(whole)-10, nil)(t, a, whole)
	}},
	{name: "NoLength", fault: simnet.Fault{NoLength: true}, blob: true, see: func(t *testing.T, a answer, whole []byte) {
		if a.ContentLength != -1 || !bytes.Equal(a.body, whole) {
			t.Errorf("length %d, %d bytes", a.ContentLength, len(a.body))
		}
	}},
	{name: "Gzip", fault: simnet.Fault{Gzip: true}, blob: true, see: func(t *testing.T, a answer, whole []byte) {
		gz, err := gzip.NewReader(bytes.NewReader(a.body))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(gz)
		if err != nil || !bytes.Equal(plain, whole) || a.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%d bytes, %v, %v", len(plain), err, a.Header)
		}
	}},
	{name: "Flip", fault: simnet.Fault{Flip: true, FlipAt: 70_000}, blob: true, see: func(t *testing.T, a answer, whole []byte) {
		a.body[70_000] ^= 1
		cutAt(len(whole), nil)(t, a, whole)
	}},
	{name: "Flip in a range", fault: simnet.Fault{Flip: true, FlipAt: 70_000}, blob: true, header: []string{"Range", "bytes=69999-70001"}, see: func(t *testing.T, a answer, whole []byte) {
		if a.body[1] != whole[70_000]^1 || a.body[0] != whole[69_999] || a.body[2] != whole[70_001] {
			t.Errorf("%v", a.body)
		}
	}},
	{name: "Cut FIN", fault: simnet.Fault{Cut: simnet.EndFIN, CutAt: 1000}, blob: true, see: cutAt(1000, io.ErrUnexpectedEOF)},
	{name: "Cut FIN at 0", fault: simnet.Fault{Cut: simnet.EndFIN}, blob: true, see: cutAt(0, io.ErrUnexpectedEOF)},
	{name: "Cut RST", fault: simnet.Fault{Cut: simnet.EndRST, CutAt: 50_000}, blob: true, see: cutAt(50_000, syscall.ECONNRESET)},
	{name: "Cut a part", fault: simnet.Fault{Cut: simnet.EndFIN, CutFraction: 0.4}, blob: true, see: func(t *testing.T, a answer, whole []byte) {
		cutAt(int(float64(len(whole))*0.4), io.ErrUnexpectedEOF)(t, a, whole)
	}},
	{name: "Cut clean", fault: simnet.Fault{Cut: simnet.EndClean, CutAt: 1000, NoLength: true}, blob: true, see: cutAt(1000, nil)},
	{name: "Respond", fault: simnet.Fault{Respond: http.NotFoundHandler()}, see: sees(404, "404 page not found")},
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range faultRows {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n, hub := start(t, simnet.HubConfig{Open: true, Direct: true})
			remove := hub.Inject(tt.fault)
			img, c := alpine.Build(), n.Client()
			c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			path, whole := img.Path(), img.Manifest()
			if tt.blob {
				layer, b := img.Layer(0)
				path, whole = img.BlobPath(layer.Digest), b
			}
			tt.see(t, ask(t, c, "GET", hub.URL()+path, tt.header...), whole)

			remove()
			if a := ask(t, c, "GET", hub.URL()+path); a.StatusCode != 200 || a.err != nil || !bytes.Equal(a.body, whole) {
				t.Errorf("after removal: %s, %d bytes, %v", a.Status, len(a.body), a.err)
			}
		})
	}
}

func TestDropAndGarbage(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault simnet.Fault
		want  func(error) bool
	}{
		"FIN":     {simnet.Fault{Drop: simnet.EndFIN}, func(err error) bool { return errors.Is(err, io.EOF) }},
		"RST":     {simnet.Fault{Drop: simnet.EndRST}, func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }},
		"garbage": {simnet.Fault{Garbage: "HELO\r\n\r\n"}, func(err error) bool { return strings.Contains(err.Error(), "malformed HTTP") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, hub := start(t, simnet.HubConfig{Open: true})
			hub.Inject(tt.fault)
			if _, err := try(t, n.Client(), "GET", hub.URL()+"/v2/"); err == nil || !tt.want(err) {
				t.Errorf("error %v", err)
			}
			if got := n.Ledger().Find(simnet.Filter{Class: simnet.Ping}); len(got) == 0 || !got[0].Cut || got[0].Status != 0 {
				t.Errorf("ledger %+v", got)
			}
		})
	}
}

func TestStall(t *testing.T) {
	t.Parallel()
	n, hub := start(t, simnet.HubConfig{Open: true, Direct: true})
	img := alpine.Build()
	layer, whole := img.Layer(0)
	lift := hub.Inject(simnet.Fault{Cut: simnet.EndStall, CutAt: 1000})
	resp, err := n.Client().Get(hub.URL() + img.BlobPath(layer.Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	head := make([]byte, 1000)
	if _, err := io.ReadFull(resp.Body, head); err != nil || !bytes.Equal(head, whole[:1000]) {
		t.Fatalf("the bytes before the stall: %v", err)
	}
	more := make(chan error, 1)
	go func() {
		_, err := resp.Body.Read(head)
		more <- err
	}()
	select {
	case err := <-more:
		t.Fatalf("no stall: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	lift()
	if err := <-more; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after the stall: %v", err)
	}
}

func TestHangFreesItselfOnClose(t *testing.T) {
	t.Parallel()
	n, hub := start(t, simnet.HubConfig{Open: true})
	hub.Inject(simnet.Fault{Drop: simnet.EndStall})
	done := make(chan error, 1)
	go func() {
		_, err := n.Client().Get(hub.URL() + "/v2/")
		done <- err
	}()
	for n.Ledger().Count(simnet.Filter{Class: simnet.Ping}) == 0 {
		time.Sleep(time.Millisecond)
	}
	n.Close()
	if err := <-done; err == nil {
		t.Error("an answer came")
	}
}

// TestWhich holds the selection of requests: class, method, match, skip, times.
func TestWhich(t *testing.T) {
	t.Parallel()
	manifest, tags := alpine.Build().Path(), "/v2/library/alpine/tags/list"
	for name, tt := range map[string]struct {
		fault simnet.Fault
		gets  []string // "METHOD path"
		want  []int
	}{
		"class":   {simnet.Fault{On: simnet.Manifests | simnet.Ping}, []string{"GET " + manifest, "GET " + tags, "GET /v2/"}, []int{500, 200, 500}},
		"method":  {simnet.Fault{Method: "HEAD"}, []string{"HEAD " + manifest, "GET " + manifest}, []int{500, 200}},
		"match":   {simnet.Fault{Match: "tags/list?n=1"}, []string{"GET " + tags, "GET " + tags + "?n=1"}, []int{200, 500}},
		"first 2": {simnet.Fault{Times: 2}, []string{"GET /v2/", "GET /v2/", "GET /v2/"}, []int{500, 500, 200}},
		"third":   {simnet.Fault{Skip: 2, Times: 1}, []string{"GET /v2/", "GET /v2/", "GET /v2/", "GET /v2/"}, []int{200, 200, 500, 200}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, hub := start(t, simnet.HubConfig{Open: true})
			tt.fault.Status = 500
			hub.Inject(tt.fault)
			for i, g := range tt.gets {
				method, path, _ := strings.Cut(g, " ")
				if got := ask(t, n.Client(), method, hub.URL()+path); got.StatusCode != tt.want[i] {
					t.Errorf("%d: %s: %s, want %d", i, g, got.Status, tt.want[i])
				}
			}
			hub.Clear()
			if got := ask(t, n.Client(), "GET", hub.URL()+manifest); got.StatusCode != 200 {
				t.Errorf("after Clear: %s", got.Status)
			}
		})
	}
}

// TestSlow measures lower bounds only: a busy machine adds, never takes away.
func TestSlow(t *testing.T) {
	t.Parallel()
	n, hub := start(t, simnet.HubConfig{Open: true, Direct: true})
	img := alpine.Build()
	layer, whole := img.Layer(0)
	took := func(c *http.Client, path string) time.Duration {
		from := time.Now()
		if got := ask(t, c, "GET", hub.URL()+path); got.StatusCode != 200 {
			t.Errorf("%s: %s", path, got.Status)
		}
		return time.Since(from)
	}
	remove := hub.Inject(simnet.Fault{Delay: 60 * time.Millisecond})
	if d := took(n.Client(), "/v2/"); d < 60*time.Millisecond {
		t.Errorf("slow headers: %v", d)
	}
	remove()
	remove = hub.Inject(simnet.Fault{FirstByteWait: 60 * time.Millisecond})
	if d := took(n.Client(), "/v2/"); d < 60*time.Millisecond {
		t.Errorf("slow first byte: %v", d)
	}
	remove()
	hub.SetRTT(20 * time.Millisecond)
	warm := n.Client()
	if d := took(warm, "/v2/"); d < 60*time.Millisecond {
		t.Errorf("new connection at 20 ms: %v, want 3 round trips", d)
	}
	if d := took(warm, "/v2/"); d < 20*time.Millisecond {
		t.Errorf("warm connection at 20 ms: %v, want 1 round trip", d)
	}
	hub.SetRTT(0)
	hub.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: int64(len(whole)) * 10})
	if d := took(n.Client(), img.BlobPath(layer.Digest)); d < 90*time.Millisecond {
		t.Errorf("throttled to 100 ms: %v", d)
	}
}
