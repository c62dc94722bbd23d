package warm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/leaktest"
	"github.com/pullchain/pullchain/internal/simnet"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// shop is an image as BuildKit pushes it: two platforms and an attestation.
var shop = simnet.Image{
	Repo: "shop/web", Tags: []string{"v1"}, Platforms: []string{"linux/amd64", "linux/arm64", "unknown/unknown"},
	Layers: []simnet.Layer{simnet.BigLayer(300<<10, 1), {Size: 1 << 10, Seed: 2}},
}

// A fakeMirror is a data plane with a cache and one image in one registry. The
// hook answers instead, if it says so.
type fakeMirror struct {
	*httptest.Server
	content *simnet.Content
	hook    func(w http.ResponseWriter, r *http.Request) bool

	mu    sync.Mutex
	cache map[string]bool
	asked []string // "GET blobs", …
}

func newFakeMirror(t *testing.T, img simnet.Image) *fakeMirror {
	t.Helper()
	f := &fakeMirror{content: img.Build(), cache: map[string]bool{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeMirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/v2/quay.io/"+f.content.Repo+"/")
	kind, ref, _ := strings.Cut(rest, "/")
	f.mu.Lock()
	f.asked = append(f.asked, r.Method+" "+kind)
	hit := f.cache[ref]
	f.mu.Unlock()
	if f.hook != nil && f.hook(w, r) {
		return
	}
	d := digest.Digest(ref)
	if slices.Contains(f.content.Tags, ref) {
		d = f.content.Root.Digest
	}
	body := f.content.Blobs[d]
	if kind == "manifests" {
		body = f.content.Manifests[d]
		w.Header().Set("Content-Type", f.content.Types[d])
	}
	if !ok || body == nil || r.URL.Query().Get("ns") != "quay.io" {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"errors":[{"code":"BLOB_UNKNOWN","message":"no such thing"}]}`)
		return
	}
	switch {
	case hit:
		w.Header().Set("Cache-Status", "pullchain; hit")
	case r.Method == http.MethodHead:
		w.Header().Set("Cache-Status", "pullchain; fwd=miss")
	default:
		w.Header().Set("Cache-Status", "nginx; fwd=miss, pullchain; fwd=miss; stored")
		f.mu.Lock()
		f.cache[ref] = true
		f.mu.Unlock()
	}
	w.Header().Set("Docker-Content-Digest", d.String())
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

func (f *fakeMirror) count(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, one := range f.asked {
		if one == what {
			n++
		}
	}
	return n
}

func (f *fakeMirror) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = nil
}

// warmed warms images of quay.io through f, and returns how it went, and the lines.
func (f *fakeMirror) warmed(t *testing.T, change func(*Warming), refs ...string) ([]Result, string) {
	t.Helper()
	var out bytes.Buffer
	m := NewMirror(f.URL, &http.Transport{}, "test")
	m.wait = time.Millisecond
	defer m.Close()
	w := Warming{Mirror: m, Jobs: 2, Board: &lines{out: &out}}
	if change != nil {
		change(&w)
	}
	var images []Image
	for _, ref := range refs {
		images = append(images, Image{Registry: "quay.io", Repo: f.content.Repo, Reference: ref})
	}
	return w.Run(t.Context(), images), out.String()
}

// What is there is not fetched again, and all that is not there is.
func TestWarmFetchesWhatIsMissing(t *testing.T) {
	t.Parallel()
	f := newFakeMirror(t, shop)
	sum := int64(0)
	for _, b := range f.content.Blobs {
		sum += int64(len(b))
	}
	n := len(f.content.Blobs)
	got, lines := f.warmed(t, nil, "v1")
	want := []Result{{Image: "quay.io/shop/web:v1", Digest: f.content.Root.Digest, OK: true, Blobs: n, Bytes: sum, Fetched: n, New: sum}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Result{})); diff != "" {
		t.Errorf("cold (-want +got):\n%s", diff)
	}
	if f.count("GET manifests") != 4 || f.count("GET blobs") != n || len(f.cache) != 4+n {
		t.Errorf("%d manifests, %d of %d blobs, %d kept", f.count("GET manifests"), f.count("GET blobs"), n, len(f.cache))
	}
	if strings.Count(lines, "\n") != n+1 || !strings.Contains(lines, fmt.Sprintf("quay.io/shop/web:v1: ok, %d of %d blobs fetched", n, n)) {
		t.Errorf("lines:\n%s", lines)
	}

	f.forget()
	got, lines = f.warmed(t, nil, "v1", f.content.Index[0].Digest.String())
	if len(got) != 2 || !got[0].OK || !got[1].OK || got[0].Fetched != 0 || got[0].Blobs != n {
		t.Errorf("warm: %+v", got)
	}
	if large, small := f.count("HEAD blobs"), f.count("GET blobs"); large != 3 || small != n-3 {
		t.Errorf("warm: %d HEADs, want 3 for the large ones, and %d GETs, want %d for the small ones", large, small, n-3)
	}
	if !strings.Contains(lines, "quay.io/shop/web:v1: was there") || strings.Count(lines, "\n") != 2 {
		t.Errorf("lines:\n%s", lines)
	}
}

func TestWarmPlatforms(t *testing.T) {
	t.Parallel()
	f := newFakeMirror(t, shop)
	got, _ := f.warmed(t, func(w *Warming) { w.Platforms = []Platform{{"linux", "arm64", ""}} }, "v1")
	if !got[0].OK || f.count("GET manifests") != 2 || f.count("GET blobs") != 3 {
		t.Errorf("one of three: %+v, %v", got, f.asked)
	}
	got, lines := f.warmed(t, func(w *Warming) { w.Platforms = []Platform{{"linux", "arm64", ""}, {"linux", "riscv64", ""}} }, "v1")
	if got[0].OK || !strings.Contains(lines, "FAILED: it is not made for linux/riscv64, only for linux/amd64, linux/arm64\n") {
		t.Errorf("one that is not there: %+v\n%s", got, lines)
	}
}

func TestWarmDryRun(t *testing.T) {
	t.Parallel()
	f := newFakeMirror(t, shop)
	got, lines := f.warmed(t, func(w *Warming) { w.Dry = true }, "v1")
	if n := len(f.content.Blobs); !got[0].OK || got[0].Fetched != n || f.count("GET blobs") != 0 || strings.Count(lines, "would fetch ") != n {
		t.Errorf("%+v, asked %v\n%s", got, f.asked, lines)
	}
}

// A cut body is resumed where it ended, whether the answer to that is the rest or
// all of it once more.
func TestWarmResumes(t *testing.T) {
	t.Parallel()
	for _, ignoresRange := range []bool{false, true} {
		f := newFakeMirror(t, simnet.Image{Repo: "shop/web", Tags: []string{"v1"}, Layers: []simnet.Layer{simnet.BigLayer(1<<20, 1)}})
		layer, _ := f.content.Layer(0)
		var ranges []string
		f.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, layer.Digest.String()) {
				return false
			}
			ranges = append(ranges, r.Header.Get("Range"))
			if len(ranges) > 2 {
				return false
			}
			if ignoresRange {
				r.Header.Del("Range")
			}
			http.ServeContent(&cutter{ResponseWriter: w, left: 200_000}, r, "", time.Time{}, bytes.NewReader(f.content.Blobs[layer.Digest]))
			panic(http.ErrAbortHandler)
		}
		f.Config.ErrorLog = nil
		got, lines := f.warmed(t, nil, "v1")
		if !got[0].OK || got[0].Fetched != 2 || len(ranges) != 3 || ranges[0] != "" || !strings.HasPrefix(ranges[2], "bytes=") {
			t.Errorf("ignores ranges %v: %+v, asked for %q\n%s", ignoresRange, got, ranges, lines)
		}
	}
}

// A cutter lets so many bytes of a body through, with Cache-Status.
type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) WriteHeader(code int) {
	c.Header().Set("Cache-Status", "pullchain; fwd=miss; stored")
	c.ResponseWriter.WriteHeader(code)
}

func (c *cutter) Write(p []byte) (int, error) {
	if c.left < len(p) {
		n, _ := c.ResponseWriter.Write(p[:c.left])
		c.left = 0
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		return n, errors.New("cut")
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

// What cannot be had fails its image alone, after as many tries as it is worth,
// and says why.
func TestWarmFailures(t *testing.T) {
	t.Parallel()
	answer := func(status int, after, cacheStatus, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			if after != "" {
				w.Header().Set("Retry-After", after)
			}
			w.Header().Set("Cache-Status", cacheStatus)
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	tests := []struct {
		name, on string // the requests that are answered so
		times    int    // 0 is for ever
		answer   func(http.ResponseWriter)
		tries    int
		error    string // empty if it comes through
	}{
		{"no such image", "GET manifests", 0, answer(404, "", "", `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"not at quay.io"}]}`), 1, "HTTP 404: not at quay.io"},
		{"trouble that passes", "GET manifests", 4, answer(503, "", "", ""), 5 + 3, ""},
		{"trouble that stays", "GET manifests", 0, answer(502, "", "", "<html><title>Bad\x1b[31m Gateway</title>"), 5, "HTTP 502: Bad"},
		{"a quota that is spent", "GET manifests", 0, answer(429, "3600", "", `{"errors":[{"code":"TOOMANYREQUESTS","message":"pull quota spent"}]}`), 1, "HTTP 429: pull quota spent"},
		{"bytes that are wrong", "GET manifests", 0, func(w http.ResponseWriter) {
			w.Header().Set("Docker-Content-Digest", digest.FromString("x").String())
			fmt.Fprint(w, "{}")
		}, 5, "wrong bytes: sha256:44136fa"},
		{"a blob that is not there", "GET blobs", 0, answer(404, "", "", ""), 9, ": HTTP 404: Not Found"},
		{"a cache that keeps no blobs", "GET blobs", 0, answer(200, "", "pullchain; fwd=bypass", "x"), 9, ": the cache does not keep it"},
		{"a cache that is none", "GET blobs", 0, answer(200, "", "", "x"), 9, ": the cache does not keep it"},
		{"a redirect", "GET blobs", 0, answer(307, "", "", ""), 9, ": HTTP 307: Temporary Redirect"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeMirror(t, shop)
			var mu sync.Mutex
			times := 0
			f.hook = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(tt.on, r.Method+" ") || !strings.Contains(r.URL.Path, "/"+strings.Fields(tt.on)[1]+"/") {
					return false
				}
				mu.Lock()
				defer mu.Unlock()
				if times++; tt.times > 0 && times > tt.times {
					return false
				}
				tt.answer(w)
				return true
			}
			got, lines := f.warmed(t, nil, "v1")
			if got[0].OK != (tt.error == "") || !strings.Contains(got[0].Error, tt.error) || strings.Contains(lines, "\x1b") {
				t.Errorf("%+v\n%q", got, lines)
			}
			if n := f.count(tt.on); n != tt.tries {
				t.Errorf("asked %d times, want %d", n, tt.tries)
			}
		})
	}
}

// One that fails is told, and the others go on; blobs that fail alike are told once.
func TestWarmGoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	f := newFakeMirror(t, shop)
	got, lines := f.warmed(t, nil, "nope", "v1")
	if len(got) != 2 || got[0].OK || !got[1].OK || strings.Count(lines, "FAILED") != 1 {
		t.Errorf("%+v\n%s", got, lines)
	}
	err := errors.Join(unlike([]error{errors.New("abc: no"), errors.New("def: no"), errors.New("def: never")})...)
	if err.Error() != "abc: no\ndef: never" {
		t.Errorf("got %q", err)
	}
}

// Images that share a blob wait for one fetch of it.
func TestWarmSharesBlobs(t *testing.T) {
	t.Parallel()
	f := newFakeMirror(t, shop)
	got, _ := f.warmed(t, nil, "v1", f.content.Root.Digest.String(), f.content.Index[1].Digest.String())
	if n := len(f.content.Blobs); f.count("GET blobs") != n || len(got) != 3 || got[2].Blobs != 3 {
		t.Errorf("%d GETs for %d blobs, %+v", f.count("GET blobs"), n, got)
	}
}

// An interrupted command says what is there; what was only begun does not count.
func TestWarmInterrupted(t *testing.T) {
	t.Parallel()
	f := newFakeMirror(t, shop)
	ctx, interrupt := context.WithCancel(t.Context())
	f.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			w.Header().Set("Cache-Status", "pullchain; fwd=miss; stored")
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			interrupt()
			<-r.Context().Done()
			return true
		}
		return false
	}
	var out bytes.Buffer
	m := NewMirror(f.URL, &http.Transport{}, "test")
	defer m.Close()
	w := Warming{Mirror: m, Jobs: 1, Board: &lines{out: &out}}
	got := w.Run(ctx, []Image{{Registry: "quay.io", Repo: "shop/web", Reference: "v1"}, {Registry: "quay.io", Repo: "shop/web", Reference: "v2"}})
	if len(got) != 0 || out.String() != "" {
		t.Errorf("%+v\n%s", got, out.String())
	}
}

// A blob that came through and did not get to the disk is not there, and it takes
// some asking to know.
func TestWarmWaitsForTheDisk(t *testing.T) {
	t.Parallel()
	for _, disk := range []struct{ after, want string }{
		{"pullchain; hit", ""},
		{"pullchain; fwd=bypass", ErrNotKept.Error()},
	} {
		f := newFakeMirror(t, simnet.Image{Repo: "shop/web", Tags: []string{"v1"}, Layers: []simnet.Layer{simnet.BigLayer(1<<20, 1)}})
		layer, _ := f.content.Layer(0)
		heads := 0
		f.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodHead || !strings.HasSuffix(r.URL.Path, layer.Digest.String()) {
				return false
			}
			status := disk.after
			if heads++; heads == 1 {
				status = "pullchain; fwd=miss"
			} else if heads < 5 {
				status = "pullchain; fwd=miss; collapsed"
			}
			w.Header().Set("Cache-Status", status)
			return true
		}
		got, lines := f.warmed(t, nil, "v1")
		if got[0].OK != (disk.want == "") || !strings.HasSuffix(got[0].Error, disk.want) || heads < 5 || heads > 6 {
			t.Errorf("%s after %d HEADs: %+v\n%s", disk.after, heads, got, lines)
		}
	}
}

func TestCachedBy(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]Cached{
		"pullchain; hit":                                 Hit,
		"pullchain; hit; ttl=50":                         Hit,
		"pullchain; hit; ttl=-720":                       Stale,
		"pullchain; fwd=miss; stored":                    Stored,
		"pullchain; fwd=miss; fwd-status=200; collapsed": Shared,
		"pullchain; fwd=bypass; fwd-status=200":          NotKept,
		"pullchain; fwd=stale; stored":                   Hit,
		"pullchain; fwd=miss":                            NotKept,
		"":                                               NotKept,
		"other; hit":                                     NotKept,
		"other; hit, pullchain;fwd=stale;stored, third; x": Hit,
	} {
		if got := cachedBy(http.Header{"Cache-Status": {header}}); got != want {
			t.Errorf("%q is %q, want %q", header, got, want)
		}
	}
}

func TestPlatforms(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"linux/amd64": "linux/amd64", "arm64": "linux/arm64", "linux/arm64/v8": "linux/arm64", "linux/arm/7": "linux/arm/v7", "armhf": "linux/arm/v7",
		"Linux/x86_64": "linux/amd64", "linux/aarch64": "linux/arm64", "windows/amd64": "windows/amd64", "linux/amd64/v2": "linux/amd64/v2", "i386": "linux/386",
		"linux": "!", "": "!", "linux/": "!", "a/b/c/d": "!",
	} {
		p, err := parsePlatform(text)
		got := p.String()
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
	if all, err := ParsePlatforms(""); all != nil || err != nil {
		t.Errorf("nothing said is %v, %v", all, err)
	}
	if some, err := ParsePlatforms("linux/amd64, current"); len(some) != 2 || err != nil || some[1].OS != "linux" {
		t.Errorf("got %v, %v", some, err)
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	d := func(s string) digest.Digest { return digest.FromString(s) }
	index, err := json.Marshal(map[string]any{"manifests": []any{
		map[string]any{"digest": d("v6"), "platform": Platform{"linux", "arm", "v6"}},
		map[string]any{"digest": d("v7"), "platform": Platform{"linux", "arm", "v7"}},
		map[string]any{"digest": d("64"), "platform": Platform{"linux", "arm64", "v8"}},
		map[string]any{"digest": d("none")},
		map[string]any{"digest": d("attest"), "platform": Platform{"unknown", "unknown", ""}},
		map[string]any{"digest": "blake3:00", "platform": Platform{"linux", "arm", "v7"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		platforms string
		want      []digest.Digest
		error     string
	}{
		{"", []digest.Digest{d("v6"), d("v7"), d("64"), d("none"), d("attest")}, ""},
		{"linux/arm64", []digest.Digest{d("64")}, ""},
		{"linux/arm/v7", []digest.Digest{d("v7")}, ""},
		{"linux/arm", []digest.Digest{d("v6"), d("v7")}, ""},
		{"linux/arm/v7,arm64", []digest.Digest{d("v7"), d("64")}, ""},
		{"linux/arm/v5,arm64", nil, "it is not made for linux/arm/v5, only for linux/arm/v6, linux/arm/v7, linux/arm64"},
		{"unknown/unknown", nil, "it is not made for unknown/unknown"},
	}
	for _, tt := range tests {
		platforms, err := ParsePlatforms(tt.platforms)
		if err != nil {
			t.Fatal(err)
		}
		got, err := choose(index, platforms)
		if diff := cmp.Diff(tt.want, got); diff != "" || (err != nil) != (tt.error != "") || err != nil && !strings.Contains(err.Error(), tt.error) {
			t.Errorf("%s: %v\n%s", tt.platforms, err, diff)
		}
	}
}

// lines is a Board that writes a line for what it is told.
type lines struct {
	silent
	mu  sync.Mutex
	out io.Writer
}

func (l *lines) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, format+"\n", args...)
}

func (l *lines) Missing(img Image, d pullchain.Descriptor) {
	l.say("%s: would fetch %s", img, Short(d.Digest))
}
func (l *lines) Begin(img Image, d pullchain.Descriptor) Bar { return &line{l: l, blob: d} }

func (l *lines) Finished(one Result) {
	switch {
	case one.Err != nil:
		l.say("%s: FAILED: %s", one.Image, one.Error)
	case one.Fetched == 0:
		l.say("%s: was there", one.Image)
	default:
		l.say("%s: ok, %d of %d blobs fetched", one.Image, one.Fetched, one.Blobs)
	}
}

// A line tells of a blob that came.
type line struct {
	silent
	l    *lines
	blob pullchain.Descriptor
}

func (b *line) End(word Cached, _ time.Duration, err error) {
	if err == nil && !word.There() {
		b.l.say("%s came", Short(b.blob.Digest))
	}
}
