package upstreams_test

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/upstreams"
)

// A headless is a registry whose answers to HEAD lose what spoil takes away.
type headless struct {
	rig   *rig
	spoil func(http.ResponseWriter, http.Header)

	mu    sync.Mutex
	asked []string
}

func (s *headless) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, req.Method)
	s.mu.Unlock()
	body, kind := s.rig.img.Manifest(), simnet.TypeOCIManifest
	if strings.Contains(req.URL.Path, "/blobs/") {
		layer, _ := s.rig.img.Layer(0)
		body, kind = s.rig.img.Blobs[layer.Digest], "application/octet-stream"
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Docker-Content-Digest", digest.FromBytes(body).String())
	if req.Method == http.MethodGet {
		_, _ = w.Write(body)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	s.spoil(w, h)
}

// headersOnly is a HEAD of req that takes the headers as they are.
func headersOnly(req pullchain.Request) pullchain.Request {
	req.Head, req.Options.HeadersOnly = true, true
	return req
}

// TestHeadThatTellsTooLittle: what the headers leave out is found out by GET, unless the
// caller wants no more than the headers (docs/faults.md 0.4).
func TestHeadThatTellsTooLittle(t *testing.T) {
	t.Parallel()
	noLength := func(w http.ResponseWriter, h http.Header) {
		h.Del("Content-Length")
		_ = http.NewResponseController(w).Flush()
	}
	length0 := func(_ http.ResponseWriter, h http.Header) { h.Set("Content-Length", "0") }
	for name, tt := range map[string]struct {
		spoil func(http.ResponseWriter, http.Header)
		asks  []string // the methods that a HEAD of a tag takes
		size  int64    // that the headers alone tell; 0: the right one
	}{
		"nothing is missing": {func(http.ResponseWriter, http.Header) {}, []string{"HEAD"}, 0},
		"no digest":          {func(_ http.ResponseWriter, h http.Header) { h.Del("Docker-Content-Digest") }, []string{"HEAD", "GET"}, 0},
		"no length":          {noLength, []string{"HEAD", "GET"}, -1},
		"length 0":           {length0, []string{"HEAD", "GET"}, -1},
		"packed":             {func(_ http.ResponseWriter, h http.Header) { h.Set("Content-Encoding", "gzip") }, []string{"HEAD", "GET"}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, simnet.HubConfig{Open: true})
			s := &headless{rig: r, spoil: tt.spoil}
			server := r.origin("headless", s.ServeHTTP)
			u := r.upstream(t, func(c *upstreams.Config) { c.URL = server.URL() })
			mustFetch(t, u, headersOnly(r.tag())) // what it names is looked for once
			methods := func(req pullchain.Request) (pullchain.Response, []string) {
				s.asked = nil
				resp, body := mustFetch(t, u, req)
				if len(body) != 0 {
					t.Errorf("HEAD with %d bytes", len(body))
				}
				return resp, s.asked
			}

			manifest := r.img.Manifest()
			resp, asked := methods(r.head(r.tag()))
			if resp.Digest != digest.FromBytes(manifest) || resp.Size != int64(len(manifest)) || !slices.Equal(asked, tt.asks) {
				t.Errorf("a tag: %s of %d bytes by %v, want %v", resp.Digest, resp.Size, asked, tt.asks)
			}
			layer, _ := r.img.Layer(0)
			resp, asked = methods(r.head(r.blob()))
			if want := cmp.Or(tt.size, layer.Size); resp.Size != want || !slices.Equal(asked, []string{"HEAD"}) {
				t.Errorf("a blob: %d bytes by %v, want %d", resp.Size, asked, want)
			}
			resp, asked = methods(headersOnly(r.tag()))
			if want := cmp.Or(tt.size, int64(len(manifest))); resp.Size != want || !slices.Equal(asked, []string{"HEAD"}) {
				t.Errorf("headers only: %d bytes by %v", resp.Size, asked)
			}
		})
	}
}

// TestHeadThatTellsLittleIsAnAnswer: where GET is refused, what the headers said stands.
func TestHeadThatTellsLittleIsAnAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true})
	defer r.hub.Inject(simnet.Fault{On: simnet.Manifests, Method: http.MethodHead, Header: map[string]string{"Docker-Content-Digest": ""}})()
	defer r.hub.Inject(simnet.Fault{On: simnet.Manifests, Method: http.MethodGet, Status: 429})()
	resp, _ := mustFetch(t, r.upstream(t, nil), r.head(r.tag()))
	if resp.Digest != "" || resp.Size != r.img.Root.Size {
		t.Errorf("%q of %d bytes", resp.Digest, resp.Size)
	}
}

// TestHeadThatNamesWhatIsNotThere: the first digest that a HEAD names is looked for, and
// those after it when it was there; GET tells what the tag is where it was not.
func TestHeadThatNamesWhatIsNotThere(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true})
	u := r.upstream(t, nil)
	heads := func() int {
		r.Ledger().Reset()
		mustFetch(t, u, r.head(r.tag()))
		return r.count(simnet.Filter{Method: http.MethodHead})
	}
	if first, next := heads(), heads(); first != 2 || next != 1 {
		t.Errorf("%d HEADs and then %d", first, next)
	}
	u.Reset()
	defer simnet.FindQuirk("label-wrong-digest").Play(r.hub)()
	for range 2 {
		_, _, err := fetch(t, u, r.head(r.tag()))
		expectError(t, err, pullchain.Corrupt, pullchain.CodeDigestMismatch)
		any := r.head(r.tag())
		any.Options.AnyHeader = true
		if resp, _ := mustFetch(t, u, any); resp.Digest != r.img.Root.Digest || resp.Size != r.img.Root.Size {
			t.Errorf("%s of %d bytes", resp.Digest, resp.Size)
		}
		mustFetch(t, u, r.pinned()) // which says nothing of what it names for a tag
	}
}

// TestDocumentThatItsHeaderContradicts: by a tag it is refused for another upstream's
// sake, and taken for what it is where any will do; by a digest its bytes decide.
func TestDocumentThatItsHeaderContradicts(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true})
	defer simnet.FindQuirk("label-wrong-digest").Play(r.hub)()
	u := r.upstream(t, nil)
	_, _, err := fetch(t, u, r.tag())
	expectError(t, err, pullchain.Corrupt, pullchain.CodeDigestMismatch)
	any := r.tag()
	any.Options.AnyHeader = true
	for _, req := range []pullchain.Request{any, r.pinned()} {
		resp, body := mustFetch(t, u, req)
		sameBytes(t, body, r.img.Manifest())
		if resp.Digest != digest.FromBytes(body) {
			t.Errorf("%s: digest %s", req.Reference(), resp.Digest)
		}
	}
}
