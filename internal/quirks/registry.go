package quirks

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Registry does everything right: the read half of the distribution API, from
// memory. It is the ground that quirks are laid over, and is safe for concurrent
// use.
type Registry struct {
	mu    sync.RWMutex
	repos map[string]*repository
}

type repository struct {
	manifests map[string]document // by tag and by digest
	blobs     map[string][]byte   // by digest
	tags      []string
}

type document struct {
	mediaType string
	body      []byte
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry { return &Registry{repos: map[string]*repository{}} }

// PutManifest stores a manifest by its digest and, unless tag is empty, by its tag.
// It returns the digest.
func (g *Registry) PutManifest(repo, tag, mediaType string, body []byte) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.repositoryLocked(repo)
	d := digestOf(body)
	r.manifests[d] = document{mediaType, body}
	if tag != "" {
		r.manifests[tag] = r.manifests[d]
		r.tags = append(r.tags, tag)
		slices.Sort(r.tags)
	}
	return d
}

// PutBlob stores a blob and returns its digest.
func (g *Registry) PutBlob(repo string, body []byte) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := digestOf(body)
	g.repositoryLocked(repo).blobs[d] = body
	return d
}

func (g *Registry) repositoryLocked(name string) *repository {
	r := g.repos[name]
	if r == nil {
		r = &repository{manifests: map[string]document{}, blobs: map[string][]byte{}}
		g.repos[name] = r
	}
	return r
}

// ServeHTTP answers as the distribution spec says, and with every header that it
// recommends.
func (g *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		sayError(w, r, http.StatusMethodNotAllowed, "UNSUPPORTED", "the operation is unsupported")
	case isPing(r):
		say(w, r, http.StatusOK, "application/json", "{}")
	case isManifest(r):
		g.manifest(w, r)
	case isBlob(r):
		g.blob(w, r)
	case isReferrers(r):
		say(w, r, http.StatusOK, typeIndex, `{"schemaVersion":2,"mediaType":"`+typeIndex+`","manifests":[]}`)
	case isTags(r):
		g.tags(w, r)
	default:
		sayError(w, r, http.StatusNotFound, "NOT_FOUND", "page not found")
	}
}

func (g *Registry) manifest(w http.ResponseWriter, r *http.Request) {
	m, ok := g.document(r)
	if !ok {
		sayError(w, r, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
		return
	}
	w.Header().Set("Docker-Content-Digest", digestOf(m.body))
	w.Header().Set("ETag", strconv.Quote(digestOf(m.body)))
	say(w, r, http.StatusOK, m.mediaType, string(m.body))
}

func (g *Registry) document(r *http.Request) (document, bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	repo := g.repos[repoOf(r)]
	if repo == nil {
		return document{}, false
	}
	m, ok := repo.manifests[lastOf(r)]
	return m, ok
}

func (g *Registry) blob(w http.ResponseWriter, r *http.Request) {
	g.mu.RLock()
	var body []byte
	ok := false
	if repo := g.repos[repoOf(r)]; repo != nil {
		body, ok = repo.blobs[lastOf(r)]
	}
	g.mu.RUnlock()
	if !ok {
		sayError(w, r, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", lastOf(r))
	w.Header().Set("ETag", strconv.Quote(lastOf(r)))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

func (g *Registry) tags(w http.ResponseWriter, r *http.Request) {
	g.mu.RLock()
	repo := g.repos[repoOf(r)]
	var tags []string
	if repo != nil {
		tags = slices.Clone(repo.tags)
	}
	g.mu.RUnlock()
	if repo == nil {
		sayError(w, r, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
		return
	}
	body, err := json.Marshal(map[string]any{"name": repoOf(r), "tags": tags})
	if err != nil {
		panic(err) // strings only
	}
	say(w, r, http.StatusOK, "application/json", string(body))
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// repoOf is the repository in the path of a request for a manifest, a blob or a
// list.
func repoOf(r *http.Request) string {
	name := strings.TrimPrefix(r.URL.Path, "/v2/")
	for _, part := range []string{"/manifests/", "/blobs/", "/referrers/", "/tags/"} {
		if i := strings.LastIndex(name, part); i >= 0 {
			return name[:i]
		}
	}
	return ""
}

func lastOf(r *http.Request) string { return r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:] }
