package upstreams_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
)

func zipped(content []byte) string {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = w.Write(content)
	_ = w.Close()
	return buf.String()
}

// TestContentEncoding: a body that some CDN has packed although identity was
// asked is unpacked, up to a limit; a part of one is no use (docs/faults.md F47).
func TestContentEncoding(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true, Direct: true})
	u := r.upstream(t, nil)
	bomb := zipped(make([]byte, 16<<20))
	_, content := r.img.Layer(0)
	encoding := func(name, body string) simnet.Fault {
		return simnet.Fault{Respond: answering(200, map[string]string{"Content-Encoding": name, "Content-Type": simnet.TypeOCIManifest}, body)}
	}
	t.Run("manifest", func(t *testing.T) {
		defer r.hub.Inject(simnet.Fault{Gzip: true})()
		resp, body := mustFetch(t, u, r.pinned())
		sameBytes(t, body, r.img.Manifest())
		if resp.Size != int64(len(body)) {
			t.Errorf("size %d", resp.Size)
		}
	})
	t.Run("HEAD", func(t *testing.T) {
		defer r.hub.Inject(simnet.Fault{Header: map[string]string{"Content-Encoding": "gzip", "Content-Length": "77"}})()
		if resp, _ := mustFetch(t, u, headersOnly(r.tag())); resp.Size != -1 {
			t.Errorf("a manifest of %d bytes, which is the packed length", resp.Size)
		}
		if resp, _ := mustFetch(t, u, r.head(r.blob())); resp.Size != -1 {
			t.Errorf("a blob of %d bytes, which is the packed length", resp.Size)
		}
	})
	t.Run("HEAD, a label that names no encoding", func(t *testing.T) { // GET passes its bytes as they come, so their length is right
		defer r.hub.Inject(simnet.Fault{Header: map[string]string{"Content-Encoding": "utf-8"}})()
		manifest, _ := mustFetch(t, u, r.head(r.tag()))
		blob, _ := mustFetch(t, u, r.head(r.blob()))
		if manifest.Size != r.img.Root.Size || blob.Size != int64(len(content)) {
			t.Errorf("a manifest of %d bytes, a blob of %d", manifest.Size, blob.Size)
		}
	})
	t.Run("blob", func(t *testing.T) {
		defer r.hub.Inject(encoding("gzip", zipped(content)))()
		resp, body := mustFetch(t, u, r.blob())
		sameBytes(t, body, content)
		if resp.Size != -1 {
			t.Errorf("size %d, which is the packed one", resp.Size)
		}
	})
	t.Run("identity", func(t *testing.T) {
		defer r.hub.Inject(encoding("identity", string(content)))()
		_, body := mustFetch(t, u, r.blob())
		sameBytes(t, body, content)
	})
	t.Run("bomb", func(t *testing.T) {
		defer r.hub.Inject(encoding("gzip", bomb))()
		_, body, err := fetch(t, u, r.blob())
		expectCorrupt(t, err, pullchain.CodeEncoded)
		if len(body) > len(bomb)*250 {
			t.Errorf("inflated to %d bytes", len(body))
		}
		_, _, err = fetch(t, u, r.tag())
		expectCorrupt(t, err, pullchain.CodeEncoded)
	})
	t.Run("range", func(t *testing.T) { // of the packed bytes, by its label: the whole is asked for
		defer r.hub.Inject(simnet.Fault{Header: map[string]string{"Content-Encoding": "gzip"}})()
		req := r.blob()
		req.Range = pullchain.Range{From: 10, To: 20}
		u := r.upstream(t, nil)
		resp, _ := mustFetch(t, u, req)
		if resp.Status != 200 {
			t.Errorf("status %d", resp.Status)
		}
		req.Size = int64(len(content)) // with it the range's total says that only the label is wrong
		u = r.upstream(t, nil)
		resp, body := mustFetch(t, u, req)
		sameBytes(t, body, content[10:20])
		if resp.Status != 206 {
			t.Errorf("status %d", resp.Status)
		}
	})
	for name, body := range map[string]string{"zstd": "x", "br": "x", "gzip": "not gzip at all", "gzip, gzip": "x", "aws-chunked": "x"} {
		t.Run(name, func(t *testing.T) { // as it came: its digest will say
			defer r.hub.Inject(encoding(name, body))()
			_, got := mustFetch(t, u, r.blob())
			sameBytes(t, got, []byte(body))
			_, _, err := fetch(t, u, r.tag())
			expectCorrupt(t, err, pullchain.CodeWrongType)
		})
	}
	t.Run("aws-chunked,gzip", func(t *testing.T) {
		defer r.hub.Inject(encoding("aws-chunked,gzip", zipped(content)))()
		_, body := mustFetch(t, u, r.blob())
		sameBytes(t, body, content)
	})
	t.Run("a layer that is gzip itself", func(t *testing.T) {
		layer := zipped(content)
		labelled := encoding("gzip", layer)
		labelled.Header = map[string]string{"Content-Length": fmt.Sprint(len(layer))}
		defer r.hub.Inject(labelled)()
		req := r.blob()
		req.Digest, req.Size = digest.FromString(layer), int64(len(layer))
		resp, body := mustFetch(t, u, req)
		sameBytes(t, body, []byte(layer))
		if resp.Size != req.Size {
			t.Errorf("size %d", resp.Size)
		}
	})
	for label, packed := range map[string]bool{"aws-chunked": false, "deflate": false, "": true, "gzip": false, "identity": true} {
		t.Run("manifest labelled "+label, func(t *testing.T) {
			doc := string(r.img.Manifest())
			if packed {
				doc = zipped(r.img.Manifest())
			}
			defer r.hub.Inject(encoding(label, doc))()
			for _, req := range []pullchain.Request{r.pinned(), r.tag()} {
				_, body := mustFetch(t, u, req)
				sameBytes(t, body, r.img.Manifest())
			}
		})
	}
	for _, e := range r.Ledger().All() {
		if e.Header.Get("Accept-Encoding") != "identity" {
			t.Fatalf("asked for %q", e.Header.Get("Accept-Encoding"))
		}
	}
}

// expectCorrupt is for errors of bodies, whose Upstream is not always filled
// in: the balancer knows the lane.
func expectCorrupt(t *testing.T, err error, code pullchain.Code) {
	t.Helper()
	if pullchain.ReasonOf(err) != pullchain.Corrupt || pullchain.CodeOf(err) != code {
		t.Errorf("%v, want corrupt %s", err, code)
	}
}

// TestPartial: a 206 has to be the very part that was asked for (docs/faults.md F46).
func TestPartial(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true, Direct: true})
	layer, content := r.img.Layer(0)
	asked := pullchain.Range{From: 100, To: 200}
	tests := map[string]struct {
		in     pullchain.Range
		status int
		header map[string]string
		n      int
		code   pullchain.Code // "": it is taken
		want   int            // as this status; 0: as it came
	}{
		"right":                    {in: asked, status: 206, header: contentRange(100, 199, layer.Size), n: 100},
		"less than asked":          {in: asked, status: 206, header: contentRange(100, 149, layer.Size), n: 50},
		"of unknown size":          {in: asked, status: 206, header: map[string]string{"Content-Range": "bytes 100-199/*"}, n: 100},
		"ignored":                  {in: asked, status: 200, n: int(layer.Size)},
		"the whole, unasked":       {status: 206, header: contentRange(0, layer.Size-1, layer.Size), n: int(layer.Size), want: 200},
		"the whole without a word": {status: 206, header: map[string]string{"Content-Length": fmt.Sprint(layer.Size)}, n: int(layer.Size), want: 200},
		"a part, unasked":          {status: 206, header: contentRange(0, 99, layer.Size), n: 100, code: pullchain.CodeWrongRange},
		"another start":            {in: asked, status: 206, header: contentRange(101, 200, layer.Size), n: 100, code: pullchain.CodeWrongRange},
		"more than asked":          {in: asked, status: 206, header: contentRange(100, 299, layer.Size), n: 200, code: pullchain.CodeWrongRange},
		"no Content-Range":         {in: asked, status: 206, n: 100}, // its length is that of the part
		"no Content-Range, longer": {in: asked, status: 206, n: 101, code: pullchain.CodeWrongRange},
		"junk":                     {in: asked, status: 206, header: map[string]string{"Content-Range": "bytes 100-199"}, n: 100, code: pullchain.CodeWrongRange},
		"backwards":                {in: asked, status: 206, header: contentRange(100, 99, layer.Size), n: 0, code: pullchain.CodeWrongRange},
		"length disagrees":         {in: asked, status: 206, header: contentRange(100, 199, layer.Size), n: 99, code: pullchain.CodeWrongRange},
		"multipart":                {in: asked, status: 206, header: map[string]string{"Content-Type": "multipart/byteranges; boundary=x"}, n: 300, code: pullchain.CodeWrongRange},
		"suffix of unknown size":   {in: pullchain.Range{From: -10}, status: 206, header: map[string]string{"Content-Range": "bytes 0-9/*"}, n: 10, code: pullchain.CodeWrongRange},
		"suffix from the start":    {in: pullchain.Range{From: -10}, status: 206, header: contentRange(0, 9, layer.Size), n: 10, code: pullchain.CodeWrongRange},
		"no content":               {in: asked, status: 204, code: pullchain.CodeUnexpected},
		"created":                  {in: asked, status: 201, n: 5, code: pullchain.CodeUnexpected},
		"whole where one is asked": {in: pullchain.Range{From: 100}, status: 206, header: contentRange(0, layer.Size-1, layer.Size), n: int(layer.Size), want: 200},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := r.origin("cdn-"+strings.ReplaceAll(name, " ", "-"), answering(tt.status, tt.header, string(content[:tt.n])))
			req := r.blob()
			req.Range = tt.in
			resp, _, err := fetch(t, r.upstreamAt(t, s), req)
			switch {
			case tt.code != "":
				expectCorrupt(t, err, tt.code)
			case err != nil:
				t.Error(err)
			case tt.want != 0 && (resp.Status != tt.want || !resp.Range.Whole() || resp.Size != layer.Size):
				t.Errorf("%+v", resp)
			case tt.want == 0 && resp.Status != tt.status || resp.Status == 206 && (resp.Range != pullchain.Range{From: 100, To: 100 + int64(tt.n)}):
				t.Errorf("%+v", resp)
			}
		})
	}
}

// TestBlobHead: what says that a blob is there, and that one may read it, has to
// be a registry's word for this very blob.
func TestBlobHead(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true, Direct: true})
	other := digest.FromString("another").String()
	for name, tt := range map[string]struct {
		status int
		header map[string]string
		code   pullchain.Code // "": it is taken
	}{
		"right":          {status: 200, header: map[string]string{"Docker-Content-Digest": r.blob().Digest.String()}},
		"no digest":      {status: 200},
		"another digest": {status: 200, header: map[string]string{"Docker-Content-Digest": other}}, // its first byte is there, whatever the label
		"no content":     {status: 204, code: pullchain.CodeUnexpected},
		"accepted":       {status: 202, code: pullchain.CodeUnexpected},
		"a part":         {status: 206, header: contentRange(0, 9, 10)}, // which is all of it
		"a page":         {status: 200, header: map[string]string{"Content-Type": "text/html"}, code: pullchain.CodeNotRegistry},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := r.origin("head-"+strings.ReplaceAll(name, " ", "-"), answering(tt.status, tt.header, ""))
			_, _, err := fetch(t, r.upstreamAt(t, s), r.head(r.blob()))
			switch {
			case tt.code != "":
				expectCorrupt(t, err, tt.code)
			case err != nil:
				t.Error(err)
			}
		})
	}
}

func contentRange(from, last, size int64) map[string]string {
	return map[string]string{"Content-Range": fmt.Sprintf("bytes %d-%d/%d", from, last, size)}
}

// TestLists: tags and referrers with what pages need, and nothing else.
func TestLists(t *testing.T) {
	t.Parallel()
	subject := testImage.Build().Root.Digest
	sbom := simnet.Image{Repo: testImage.Repo, ArtifactType: "application/spdx+json", Subject: subject}
	r := newRig(t, simnet.HubConfig{Images: []simnet.Image{testImage, sbom}, AbsoluteLinks: true})
	u := r.upstream(t, nil)

	req := pullchain.Request{Op: pullchain.Tags, Repo: testImage.Repo, Query: "n=1"}
	resp, body := mustFetch(t, u, req)
	if string(body) != `{"name":"library/alpine","tags":["3.20"]}` || resp.Size != int64(len(body)) || resp.Digest != "" {
		t.Errorf("%s %+v", body, resp)
	}
	if link := resp.Header.Get("Link"); link != "<"+r.hub.URL()+`/v2/library/alpine/tags/list?last=3.20&n=1>; rel="next"` {
		t.Errorf("Link %q is not as the hub wrote it", link)
	}
	if got := r.Ledger().Find(simnet.Filter{Class: simnet.Tags, Status: 200}); len(got) != 1 || got[0].Query != "n=1" {
		t.Errorf("asked %+v", got)
	}

	req = pullchain.Request{Op: pullchain.Referrers, Repo: testImage.Repo, Digest: subject, Query: "artifactType=application%2Fspdx%2Bjson"}
	resp, body = mustFetch(t, u, req)
	if resp.Header.Get("Oci-Filters-Applied") != "artifactType" || resp.MediaType != simnet.TypeOCIIndex || !bytes.Contains(body, []byte("spdx")) {
		t.Errorf("%s %+v", body, resp)
	}
	if resp.Digest != "" || resp.Links != nil {
		t.Errorf("the subject's digest passes for the list's: %+v", resp)
	}
	for _, req := range []pullchain.Request{{Op: pullchain.Tags}, {Op: pullchain.Referrers, Digest: digest.FromString("x")}} {
		req.Repo, req.Head = testImage.Repo, true
		if _, body := mustFetch(t, u, req); len(body) != 0 {
			t.Errorf("HEAD of %s has a body", req.Op)
		}
		if n := r.count(simnet.Filter{Method: http.MethodGet, Status: 200, Class: simnet.Tags | simnet.Referrers}); n != 2 {
			t.Errorf("%d GETs, want the two before", n)
		}
	}
	lift := r.hub.Inject(simnet.Fault{On: simnet.Tags, Status: 200, Body: "[1,2]", Header: map[string]string{"Content-Type": "application/json"}})
	_, _, err := fetch(t, u, pullchain.Request{Op: pullchain.Tags, Repo: testImage.Repo})
	expectError(t, err, pullchain.Corrupt, pullchain.CodeNotRegistry)
	lift()
	_, _, err = fetch(t, u, pullchain.Request{Op: pullchain.Tags, Repo: "library/none"})
	expectError(t, err, pullchain.NotFound, pullchain.CodeNotFound)
}

// TestMemory: a large blob streams: what is held does not grow with it.
func TestMemory(t *testing.T) {
	t.Parallel()
	const size = 256 << 20
	r := newRig(t, simnet.HubConfig{Open: true, Direct: true})
	defer r.hub.Inject(simnet.Fault{On: simnet.Blobs, Respond: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(size))
		page := make([]byte, 256<<10)
		for range size / len(page) {
			_, _ = w.Write(page)
		}
	})})()
	resp, err := r.upstream(t, nil).Fetch(t.Context(), r.blob())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first, err := io.ReadFull(resp.Body, make([]byte, 1000))
	if err != nil || first != 1000 || resp.Size != size {
		t.Fatalf("%d bytes of %d: %v", first, resp.Size, err)
	}
	// The far end cannot be done: its bytes have not been taken.
	if r.Ledger().Find(simnet.Filter{Class: simnet.Blobs})[0].Done {
		t.Error("the whole blob was read ahead")
	}
}
