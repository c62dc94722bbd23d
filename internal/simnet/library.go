package simnet

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// A source is where a registry's content comes from: memory, or a real
// registry. Its methods report what is not there by false.
type source interface {
	manifest(ctx context.Context, repo, ref string, accept []string) (manifest, bool)
	hasBlob(ctx context.Context, repo string, d digest.Digest) bool
	serveBlob(w http.ResponseWriter, r *http.Request, repo string, d digest.Digest)
	tags(ctx context.Context, repo string) ([]string, bool)
	referrers(ctx context.Context, repo string, d digest.Digest) ([]Descriptor, bool)
	names() []string // of the repositories, sorted
}

// A manifest with what its answer needs.
type manifest struct {
	mediaType string
	digest    digest.Digest
	body      []byte
}

// A Library is the content of a [Hub] or [Mirror], in memory. Changing it
// changes the answers at once. It is safe for concurrent use.
type Library struct {
	net *Net

	mu    sync.RWMutex
	repos map[string]*repository
}

// A repository is the content under one name. Blobs belong to it, as at a real
// registry: one that another repository has is not found here.
type repository struct {
	manifests map[digest.Digest]manifest
	children  map[digest.Digest]digest.Digest // index -> its linux/amd64 manifest
	blobs     map[digest.Digest][]byte
	tags      map[string]digest.Digest
	about     map[digest.Digest][]Descriptor // subject -> referrers
}

func newLibrary(n *Net, images []Image) *Library {
	l := &Library{net: n, repos: map[string]*repository{}}
	for _, img := range images {
		l.Push(img)
	}
	return l
}

// Push adds an image and moves its tags to it.
func (l *Library) Push(img Image) *Content {
	c := l.net.Build(img)
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.repos[img.Repo]
	if r == nil {
		r = &repository{
			manifests: map[digest.Digest]manifest{},
			children:  map[digest.Digest]digest.Digest{},
			blobs:     map[digest.Digest][]byte{},
			tags:      map[string]digest.Digest{},
			about:     map[digest.Digest][]Descriptor{},
		}
		l.repos[img.Repo] = r
	}
	for d, b := range c.Manifests {
		r.manifests[d] = manifest{mediaType: c.Types[d], digest: d, body: b}
	}
	for d, b := range c.Blobs {
		r.blobs[d] = b
	}
	for i, p := range img.Platforms {
		if len(c.Index) > 0 && (i == 0 || p == "linux/amd64") {
			r.children[c.Root.Digest] = c.Index[i].Digest
		}
	}
	for _, t := range img.Tags {
		r.tags[t] = c.Root.Digest
	}
	if img.Subject != "" {
		r.about[img.Subject] = append(r.about[img.Subject], c.Root)
	}
	return c
}

// SetTag moves a tag to what may be an older digest of the repository.
func (l *Library) SetTag(repo, tag string, d digest.Digest) {
	l.change(repo, func(r *repository) { r.tags[tag] = d })
}

// DropManifest makes a manifest unknown; tags that lead to it stay in the
// list, as in a mirror that lost the digest (docs/protocol.md 4.8).
func (l *Library) DropManifest(repo string, d digest.Digest) {
	l.change(repo, func(r *repository) { delete(r.manifests, d) })
}

// DropBlob makes a blob unknown.
func (l *Library) DropBlob(repo string, d digest.Digest) {
	l.change(repo, func(r *repository) { delete(r.blobs, d) })
}

// Forget makes the repository unknown.
func (l *Library) Forget(repo string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.repos, repo)
}

// change applies f to a repository, if it exists.
func (l *Library) change(repo string, f func(*repository)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.repos[repo]; r != nil {
		f(r)
	}
}

// manifest finds by tag or digest. A tag of an index becomes the linux/amd64
// manifest for clients that take no index, as at Docker Hub: what a tag means
// depends on Accept (docs/protocol.md 4.4).
func (l *Library) manifest(_ context.Context, repo, ref string, accept []string) (manifest, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	r := l.repos[repo]
	if r == nil {
		return manifest{}, false
	}
	m, ok := r.manifests[digest.Digest(ref)]
	if ok {
		return m, true
	}
	d, ok := r.tags[ref]
	if !ok {
		return manifest{}, false
	}
	if m, ok = r.manifests[d]; !ok {
		return manifest{}, false
	}
	if child, isIndex := r.children[d]; isIndex && !accepts(accept, m.mediaType) {
		m, ok = r.manifests[child]
	}
	return m, ok
}

// accepts reports whether an Accept header takes the type. No header takes
// everything.
func accepts(accept []string, mediaType string) bool {
	if len(accept) == 0 {
		return true
	}
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		kind, _, _ := strings.Cut(part, ";")
		switch strings.TrimSpace(kind) {
		case mediaType, "*/*", "application/*":
			return true
		}
	}
	return false
}

func (l *Library) blob(repo string, d digest.Digest) ([]byte, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	r := l.repos[repo]
	if r == nil {
		return nil, false
	}
	b, ok := r.blobs[d]
	return b, ok
}

func (l *Library) hasBlob(_ context.Context, repo string, d digest.Digest) bool {
	_, ok := l.blob(repo, d)
	return ok
}

// serveBlob answers with ranges, If-Range and 416 as net/http does them.
func (l *Library) serveBlob(w http.ResponseWriter, r *http.Request, repo string, d digest.Digest) {
	b, ok := l.blob(repo, d)
	if !ok {
		fail(w, r, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")
		return
	}
	w.Header().Set("ETag", `"`+d.String()+`"`)
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/octet-stream")
	}
	http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))))
}

// tags returns the tags in order, in which pages of them are cut.
func (l *Library) tags(_ context.Context, repo string) ([]string, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	r := l.repos[repo]
	if r == nil {
		return nil, false
	}
	out := make([]string, 0, len(r.tags))
	for t := range r.tags {
		out = append(out, t)
	}
	slices.Sort(out)
	return out, true
}

// referrers returns what was pushed with d as its subject. A repository without any
// has an empty list, and not a 404.
func (l *Library) referrers(_ context.Context, repo string, d digest.Digest) ([]Descriptor, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	r := l.repos[repo]
	if r == nil {
		return nil, false
	}
	return slices.Clone(r.about[d]), true
}

func (l *Library) names() []string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.Sorted(maps.Keys(l.repos))
}
