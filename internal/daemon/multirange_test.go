package daemon_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// chunks are what a client asks for that has some files of a zstd:chunked layer
// already: out of order, touching, and the end.
func chunks(size int) (header string, spans [][2]int) {
	spans = [][2]int{{1000, 51000}, {51000, 52000}, {size - 70000, size}, {300000, 400000}, {7, 8}}
	var parts []string
	for _, s := range spans {
		parts = append(parts, fmt.Sprintf("%d-%d", s[0], s[1]-1))
	}
	return "bytes=" + strings.Join(parts, ","), spans
}

// wrongParts says what is wrong with an answer of several parts.
func wrongParts(got reply, content []byte, spans [][2]int) error {
	if got.Status != http.StatusPartialContent || got.Err != nil {
		return fmt.Errorf("status %d, %v; body %.300q", got.Status, got.Err, got.Body)
	}
	_, params, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	r := multipart.NewReader(bytes.NewReader(got.Body), params["boundary"])
	for i, s := range spans {
		p, err := r.NextRawPart()
		if err != nil {
			return fmt.Errorf("part %d: %w", i, err)
		}
		body, err := io.ReadAll(p)
		if cr := p.Header.Get("Content-Range"); err != nil || cr != fmt.Sprintf("bytes %d-%d/%d", s[0], s[1]-1, len(content)) || !bytes.Equal(body, content[s[0]:s[1]]) {
			return fmt.Errorf("part %d: %q with %d bytes, %w", i, cr, len(body), err)
		}
	}
	if _, err := r.NextRawPart(); err != io.EOF {
		return fmt.Errorf("after the last part: %w", err)
	}
	return nil
}

// wantSingleRanges fails the test if an upstream has seen several ranges in one
// request: many answer that with the whole, 416 or 501.
func (r *rig) wantSingleRanges() {
	r.t.Helper()
	for _, e := range r.net.Ledger().All() {
		if strings.Contains(e.Range, ",") {
			r.t.Errorf("%s was asked for %s", e.Server, e.Range)
		}
	}
}

// Several ranges are answered in parts: of a cold blob, of a stored one, without a
// cache, and by upstreams that do not do ranges at all.
func TestSeveralRanges(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*rigConfig, string){
		"with a cache":    func(c *rigConfig, dir string) { c.Cache = cacheIn(dir) },
		"without a cache": func(*rigConfig, string) {},
	} {
		for kind, fault := range map[string]*simnet.Fault{
			"":                             nil,
			" that does no ranges":         {On: simnet.Blobs, IgnoreRange: true},
			" that knows no lengths":       {On: simnet.Blobs, NoLength: true},
			" that does neither":           {On: simnet.Blobs, IgnoreRange: true, NoLength: true},
			" that is cut after the start": {On: simnet.Blobs, Cut: simnet.EndFIN, CutAt: 30_000, Times: 1},
		} {
			t.Run(name+kind, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				p := newBig(t, true, func(c *rigConfig) { change(c, dir) })
				if fault != nil {
					p.a.Inject(*fault)
					p.b.Inject(*fault)
				}
				path, content := p.layer()
				header, spans := chunks(len(content))
				for range 2 { // cold, and from what is there then
					if err := wrongParts(p.get(path, "Range", header), content, spans); err != nil {
						t.Error(err)
					}
				}
				p.wantBytes(path, content)
				if err := wrongParts(p.get(path, "Range", header), content, spans); err != nil {
					t.Error(err)
				}
				p.wantSingleRanges()
			})
		}
	}
}

// A herd that wants parts of one cold blob, each others, shares its download.
func TestSeveralRangesOfAHerd(t *testing.T) {
	t.Parallel()
	k, _ := newHerd(t, oneConnection)
	path, content := k.layer()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			spans := [][2]int{{i * 1000, i*1000 + 5000}, {1<<20 + i*1000, 1<<20 + i*1000 + 70000}, {i * 7, i*7 + 1}}
			header := fmt.Sprintf("bytes=%d-%d,%d-%d,%d-%d", spans[0][0], spans[0][1]-1, spans[1][0], spans[1][1]-1, spans[2][0], spans[2][1]-1)
			if err := wrongParts(k.get(path, "Range", header), content, spans); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
		if i == 0 {
			k.eventually("the first is on its way", func() bool { return k.asked("hub", "", simnet.Blobs) > 0 })
		}
	}
	wg.Wait()
	k.wantBytes(path, content)
	k.wantSingleRanges()
	if n := k.net.Ledger().Bytes(simnet.Filter{Server: "hub-cdn"}); n > herdSize*102/100 {
		t.Errorf("%d bytes came from the CDN for a blob of %d", n, herdSize)
	}
}

// What fails in the middle is cut, and never looks like all of it.
func TestSeveralRangesThatFail(t *testing.T) {
	t.Parallel()
	p := newBig(t, true, nil)
	path, content := p.layer()
	header, _ := chunks(len(content))
	for _, m := range []*simnet.Mirror{p.a, p.b} {
		m.Inject(simnet.Fault{On: simnet.Blobs, Status: http.StatusInternalServerError, Skip: 2})
	}
	got := p.get(path, "Range", header)
	if got.Status != http.StatusPartialContent || !errors.Is(got.Err, io.ErrUnexpectedEOF) {
		t.Errorf("status %d with %d of %s bytes, %v; want 206 that ends too early", got.Status, len(got.Body), got.Header.Get("Content-Length"), got.Err)
	}
	p.wantSingleRanges()
}
