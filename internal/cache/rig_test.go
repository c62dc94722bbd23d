package cache_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/wire"
)

// What clients take, as they spell it.
var (
	acceptContainerd = []string{wire.TypeDockerManifest + ", " + wire.TypeDockerList + ", " + wire.TypeOCIManifest + ", " + wire.TypeOCIIndex + ", */*"}
	acceptSchema2    = []string{wire.TypeDockerManifest}
)

// An upstream is a scripted registry: it has what it is told to have, fails as it
// is told to, and counts what it is asked for by kind.
type upstream struct {
	mu       sync.Mutex
	content  map[digest.Digest]document
	tags     map[string]digest.Digest // "repo:tag" -> digest
	absent   map[string]bool          // "repo@digest" that this repository has not
	asked    map[string]int           // "HEAD manifests" -> requests since the last look
	requests []pullchain.Request
	private  bool                                  // answers take a login
	login    string                                // that login
	mute     bool                                  // HEADs have no digest
	entity   string                                // the Etag of manifests
	headSize int64                                 // what HEADs say instead of the size; 0: the size
	wait     time.Duration                         // before each answer
	fail     func(pullchain.Request) error         // nil, or nil error: answer
	hold     chan struct{}                         // bodies of blobs wait until it is closed; nil: they do not
	choose   func(pullchain.Request) digest.Digest // what a tag means to this client; nil: tags
}

type document struct {
	mediaType string
	body      []byte
}

func newUpstream() *upstream {
	return &upstream{
		content: map[digest.Digest]document{}, tags: map[string]digest.Digest{}, absent: map[string]bool{}, asked: map[string]int{},
	}
}

// add puts content into the registry and returns its digest.
func (u *upstream) add(mediaType string, body []byte) digest.Digest {
	d := digest.FromBytes(body)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.content[d] = document{mediaType, body}
	return d
}

// image adds an image of one layer and its config, made of text.
func (u *upstream) image(text string) (manifest, layer digest.Digest) {
	layer = u.add("", []byte("layer of "+text))
	return u.manifest(layer, "config of "+text), layer
}

// manifest adds an image of the given layer.
func (u *upstream) manifest(layer digest.Digest, config string) digest.Digest {
	c := u.add("", []byte(config))
	return u.add(wire.TypeOCIManifest, toJSON(map[string]any{
		"schemaVersion": 2, "mediaType": wire.TypeOCIManifest,
		"config": u.descriptor(c), "layers": []any{u.descriptor(layer)},
	}))
}

// index adds an index of manifests.
func (u *upstream) index(manifests ...digest.Digest) digest.Digest {
	list := []any{}
	for _, d := range manifests {
		list = append(list, u.descriptor(d))
	}
	return u.add(wire.TypeOCIIndex, toJSON(map[string]any{
		"schemaVersion": 2, "mediaType": wire.TypeOCIIndex, "manifests": list,
	}))
}

func (u *upstream) descriptor(d digest.Digest) map[string]any {
	doc := u.content[d]
	return map[string]any{"mediaType": doc.mediaType, "digest": d, "size": len(doc.body)}
}

func toJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// tag makes repo:tag mean d.
func (u *upstream) tag(name string, d digest.Digest) {
	u.set(func() { u.tags[name] = d })
}

// set changes the script.
func (u *upstream) set(change func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change()
}

// down makes every request fail like this.
func (u *upstream) down(err error) {
	u.set(func() {
		u.fail = func(pullchain.Request) error { return err }
	})
}

// up undoes down.
func (u *upstream) up() { u.set(func() { u.fail = nil }) }

// Fetch is a pullchain.Fetcher.
func (u *upstream) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	u.mu.Lock()
	u.asked[kindOf(req)]++
	u.requests = append(u.requests, req)
	wait, fail := u.wait, u.fail
	u.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return pullchain.Response{}, &pullchain.Error{Reason: pullchain.Canceled, Err: ctx.Err()}
	}
	if fail != nil {
		if err := fail(req); err != nil {
			return pullchain.Response{}, err
		}
	}
	return u.answer(req)
}

func kindOf(req pullchain.Request) string {
	method := "GET"
	if req.Head {
		method = "HEAD"
	}
	return method + " " + req.Op.String() + "s"
}

func (u *upstream) answer(req pullchain.Request) (pullchain.Response, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	d := req.Digest
	if d == "" {
		d = u.tags[req.Repo+":"+req.Tag]
		if u.choose != nil {
			d = u.choose(req)
		}
	}
	doc, ok := u.content[d]
	if !ok && (req.Op == pullchain.Manifest || req.Op == pullchain.Blob) || u.absent[req.Repo+"@"+d.String()] {
		return pullchain.Response{}, notFound
	}
	resp := pullchain.Response{
		Status: 200, MediaType: doc.mediaType, Digest: d, Size: int64(len(doc.body)), Private: u.private, Login: u.login, Body: pullchain.NoBody,
		Attempts: []pullchain.Attempt{{Upstream: "hub", Start: time.Now()}},
	}
	if req.Head {
		if u.mute {
			resp.Digest = ""
		}
		if u.headSize != 0 {
			resp.Size = u.headSize
		}
		if u.entity != "" {
			resp.Header = http.Header{"Etag": {u.entity}}
		}
		return resp, nil
	}
	if req.Op == pullchain.Manifest {
		if u.entity != "" {
			resp.Header = http.Header{"Etag": {u.entity}}
		}
		_, resp.Links, _ = wire.ParseManifest(doc.mediaType, doc.body)
	}
	body := doc.body
	if abs, ok := wire.ResolveRange(req.Range, resp.Size); ok && !req.Range.Whole() {
		resp.Status, resp.Range, body = 206, abs, body[abs.From:abs.To]
	}
	var content io.Reader = bytes.NewReader(body)
	if u.hold != nil && req.Op == pullchain.Blob {
		content = heldReader{content, u.hold}
	}
	resp.Body = sourceBody{io.NopCloser(content)}
	return resp, nil
}

// sourceBody is a body as the balancer has it.
type sourceBody struct{ io.ReadCloser }

func (sourceBody) Source() pullchain.Source      { return pullchain.Source{Upstream: "hub"} }
func (sourceBody) Sections() pullchain.Sections  { return nil }
func (sourceBody) Attempts() []pullchain.Attempt { return []pullchain.Attempt{{Upstream: "hub"}} }

var notFound = &pullchain.Error{
	Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Status: 404, Final: true,
	Attempts: []pullchain.Attempt{{Upstream: "hub", Err: &pullchain.Error{Reason: pullchain.NotFound}}},
}

// failed returns the verdict over one attempt that failed for the reason.
func failed(reason pullchain.Reason, code pullchain.Code, status int) error {
	return &pullchain.Error{
		Reason: reason, Code: code, Status: status,
		Attempts: []pullchain.Attempt{{Upstream: "hub", Err: &pullchain.Error{Reason: reason, Code: code, Status: status}}},
	}
}

var (
	errDown   = failed(pullchain.Unavailable, pullchain.CodeConnRefused, 0)
	errDenied = failed(pullchain.Denied, pullchain.CodeForbidden, 403)
)

// A rig is a cache between a client and one upstream.
type rig struct {
	t     *testing.T
	dir   string
	up    *upstream
	store *blobstore.Store
	cache *cache.Cache
	hub   pullchain.Fetcher // docker.io through the cache
}

// bubble runs a test with a rig, in fake time.
func bubble(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, dir: dir, up: newUpstream()}
		r.open()
		t.Cleanup(r.close)
		test(t, r)
	})
}

func (r *rig) open() {
	r.t.Helper()
	store, err := blobstore.Open(blobstore.Config{Dir: r.dir, MaxSize: 1 << 30})
	if err != nil {
		r.t.Fatal(err)
	}
	r.store = store
	r.cache = cache.New(cache.Options{Store: store})
	r.hub = r.cache.Chain(cache.Registry{Name: "docker.io", Next: r.up})
}

func (r *rig) close() {
	r.t.Helper()
	if r.cache == nil {
		return
	}
	if err := errors.Join(r.cache.Close(), r.store.Close()); err != nil {
		r.t.Error(err)
	}
	r.cache, r.store = nil, nil
}

// restart is the end of one process and the start of the next.
func (r *rig) restart() {
	r.t.Helper()
	r.restartWith(func() {})
}

// restartWith is a restart that finds the store changed.
func (r *rig) restartWith(change func()) {
	r.t.Helper()
	synctest.Wait()
	r.close()
	r.open()
	change()
}

// An answer is what a client got.
type answer struct {
	digest digest.Digest
	body   string
	result pullchain.CacheResult
	age    time.Duration
	resp   pullchain.Response
	err    error
	reason pullchain.Reason
}

// do makes a request and reads the answer.
func (r *rig) do(req pullchain.Request) answer {
	r.t.Helper()
	return fetch(r.t, r.hub, req)
}

func fetch(t *testing.T, from pullchain.Fetcher, req pullchain.Request) answer {
	t.Helper()
	resp, err := from.Fetch(t.Context(), req)
	if err != nil {
		return answer{err: err, reason: pullchain.ReasonOf(err)}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	a := answer{digest: resp.Digest, body: string(body), result: resp.Cache, age: resp.Age, resp: resp, err: err}
	if err == nil && !req.Head && resp.Status == 200 && int64(len(body)) != resp.Size {
		t.Errorf("%s: a body of %d bytes, and a size of %d", req.Image(), len(body), resp.Size)
	}
	return a
}

// want checks an answer's result and content.
func (r *rig) want(a answer, result pullchain.CacheResult, d digest.Digest) {
	r.t.Helper()
	if a.err != nil {
		r.t.Fatalf("error %v, want %s %s", a.err, result, d)
	}
	if a.result != result || a.digest != d {
		r.t.Errorf("got %s %s, want %s %s", a.result, a.digest, result, d)
	}
	if a.body != "" && digest.FromString(a.body) != d {
		r.t.Errorf("the body of %s hashes to %s", d, digest.FromString(a.body))
	}
}

// asked checks what the upstream was asked for since the last look.
func (r *rig) asked(want ...string) {
	r.t.Helper()
	r.up.mu.Lock()
	defer r.up.mu.Unlock()
	got := []string{}
	for kind, n := range r.up.asked {
		for range n {
			got = append(got, kind)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		r.t.Errorf("requests upstream (-want +got):\n%s", diff)
	}
	r.up.asked = map[string]int{}
}

// The requests of the tests.
func byTag(name, tag string) pullchain.Request {
	return pullchain.Request{Op: pullchain.Manifest, Registry: "docker.io", Repo: name, Tag: tag, Accept: acceptContainerd}
}

func byDigest(name string, d digest.Digest) pullchain.Request {
	return pullchain.Request{Op: pullchain.Manifest, Registry: "docker.io", Repo: name, Digest: d, Accept: acceptContainerd}
}

func blob(name string, d digest.Digest) pullchain.Request {
	return pullchain.Request{Op: pullchain.Blob, Registry: "docker.io", Repo: name, Digest: d}
}

func head(req pullchain.Request) pullchain.Request {
	req.Head = true
	return req
}

// What the upstream is asked.
const (
	headManifest = "HEAD manifests"
	getManifest  = "GET manifests"
	headBlob     = "HEAD blobs"
	getBlob      = "GET blobs"
)

const (
	alpine = "library/alpine"
	hit    = pullchain.CacheHit
	miss   = pullchain.CacheMiss
	stale  = pullchain.CacheStale
	bypass = pullchain.CacheBypass
)
