package simnet

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// registry answers the read half of the distribution API from a source. What
// stands before it (tokens, quota) and behind its blobs (a CDN) are hooks.
type registry struct {
	from source
	// admit answers a request that may not pass, and returns false.
	admit func(w http.ResponseWriter, r *http.Request, rt route) bool
	// count is asked before a manifest is answered, and may answer itself.
	count func(w http.ResponseWriter, r *http.Request, rt route) bool
	// redirect returns where a blob is; "" is here.
	redirect func(repo string, d digest.Digest) string

	// linkBase is what Link targets begin with; nil makes them relative.
	linkBase func() string

	noReferrers bool
}

// ServeHTTP answers as distribution does. The version header comes first: a refusal
// has it, too.
func (g *registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	rt := routeOf(r)
	if g.admit != nil && !g.admit(w, r, rt) {
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		fail(w, r, http.StatusMethodNotAllowed, "UNSUPPORTED", "the operation is unsupported")
		return
	}
	switch rt.class {
	case Ping:
		writeJSON(w, r, "application/json", []byte("{}"))
	case Manifests:
		g.manifest(w, r, rt)
	case Blobs:
		g.blob(w, r, rt)
	case Tags:
		g.tags(w, r, rt)
	case Referrers:
		g.referrers(w, r, rt)
	default:
		if r.URL.Path == "/v1/search" {
			g.search(w, r)
			return
		}
		fail(w, r, http.StatusNotFound, "UNSUPPORTED", "404 page not found")
	}
}

// search answers as Docker Hub's index does: one page, its official images without their
// name space.
func (g *registry) search(w http.ResponseWriter, r *http.Request) {
	type result struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		StarCount   int    `json:"star_count"`
		IsOfficial  bool   `json:"is_official"`
	}
	q := r.URL.Query().Get("q")
	results := []result{}
	for _, repo := range g.from.names() {
		name, official := strings.CutPrefix(repo, "library/")
		if strings.Contains(name, q) {
			results = append(results, result{name, "an image of " + repo, 1, official})
		}
	}
	writeJSON(w, r, "application/json", encode(map[string]any{"num_pages": 1, "num_results": len(results), "page": 1, "page_size": 25, "query": q, "results": results}))
}

// manifest answers by tag or digest, and counts the request first.
func (g *registry) manifest(w http.ResponseWriter, r *http.Request, rt route) {
	if g.count != nil && !g.count(w, r, rt) {
		return
	}
	m, ok := g.from.manifest(r.Context(), rt.repo, rt.ref, r.Header.Values("Accept"))
	if !ok {
		fail(w, r, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
		return
	}
	etag := `"` + m.digest.String() + `"`
	w.Header().Set("Docker-Content-Digest", m.digest.String())
	w.Header().Set("ETag", etag)
	if match := r.Header.Get("If-None-Match"); match == etag || match == m.digest.String() {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	writeJSON(w, r, m.mediaType, m.body)
}

// blob answers with the blob or with where it is. Most public registries redirect
// to a CDN, so a Location is the ordinary case.
func (g *registry) blob(w http.ResponseWriter, r *http.Request, rt route) {
	d, err := digest.Parse(rt.ref)
	if err != nil {
		fail(w, r, http.StatusBadRequest, "DIGEST_INVALID", "provided digest did not match uploaded content")
		return
	}
	if !g.from.hasBlob(r.Context(), rt.repo, d) {
		fail(w, r, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")
		return
	}
	w.Header().Set("Docker-Content-Digest", d.String())
	if g.redirect != nil {
		if to := g.redirect(rt.repo, d); to != "" {
			w.Header().Set("Location", to)
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
	}
	g.from.serveBlob(w, r, rt.repo, d)
}

// tags pages with n and last, and links to the next page as the distribution
// spec says: none for n=0 nor on the last page.
func (g *registry) tags(w http.ResponseWriter, r *http.Request, rt route) {
	all, ok := g.from.tags(r.Context(), rt.repo)
	if !ok {
		fail(w, r, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
		return
	}
	q := r.URL.Query()
	if last := q.Get("last"); last != "" {
		i, found := slices.BinarySearch(all, last)
		if found {
			i++
		}
		all = all[i:]
	}
	n, err := strconv.Atoi(q.Get("n"))
	if q.Has("n") && (err != nil || n < 0) {
		fail(w, r, http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "invalid number of results requested")
		return
	}
	if q.Has("n") && n < len(all) {
		all = all[:n]
		if n > 0 {
			next := url.Values{"n": {strconv.Itoa(n)}, "last": {all[n-1]}}
			base := ""
			if g.linkBase != nil {
				base = g.linkBase()
			}
			w.Header().Set("Link", "<"+base+r.URL.Path+"?"+next.Encode()+`>; rel="next"`)
		}
	}
	body := encode(struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{rt.repo, all})
	writeJSON(w, r, "application/json", body)
}

// referrers answers with an index of what refers to a manifest (distribution-spec,
// "Listing Referrers"), filtered if asked, and says so.
func (g *registry) referrers(w http.ResponseWriter, r *http.Request, rt route) {
	if g.noReferrers {
		http.NotFound(w, r)
		return
	}
	list, ok := g.from.referrers(r.Context(), rt.repo, digest.Digest(rt.ref))
	if !ok {
		fail(w, r, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
		return
	}
	if kind := r.URL.Query().Get("artifactType"); kind != "" {
		list = slices.DeleteFunc(list, func(d Descriptor) bool { return d.ArtifactType != kind })
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	list = g.pageOf(w, r, list)
	if list == nil {
		list = []Descriptor{}
	}
	writeJSON(w, r, TypeOCIIndex, encode(indexDoc{SchemaVersion: 2, MediaType: TypeOCIIndex, Manifests: list}))
}

// pageOf returns the page of referrers that is asked for, with a link to the next one, whose
// cursor is the server's own. Without n it is all of them.
func (g *registry) pageOf(w http.ResponseWriter, r *http.Request, list []Descriptor) []Descriptor {
	q := r.URL.Query()
	from, _ := strconv.Atoi(q.Get("cursor"))
	list = list[min(max(from, 0), len(list)):]
	n, err := strconv.Atoi(q.Get("n"))
	if err != nil || n <= 0 || n >= len(list) {
		return list
	}
	q.Set("cursor", strconv.Itoa(from+n))
	base := ""
	if g.linkBase != nil {
		base = g.linkBase()
	}
	w.Header().Set("Link", "<"+base+r.URL.Path+"?"+q.Encode()+`>; rel="next"`)
	return list[:n]
}

// writeJSON answers 200 with body, or with its headers alone for HEAD.
func writeJSON(w http.ResponseWriter, r *http.Request, mediaType string, body []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// errorBody is an error in the words of the distribution spec.
func errorBody(code, message string) []byte {
	type item struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail"`
	}
	b, err := json.Marshal(map[string][]item{"errors": {{Code: code, Message: message}}})
	must(err)
	return append(b, '\n')
}

// fail answers with an OCI error.
func fail(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	body := errorBody(code, message)
	for _, h := range strings.Fields("ETag Docker-Content-Digest Content-Range") {
		w.Header().Del(h)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}
