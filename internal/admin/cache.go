package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
)

// A Cache is what operators see of the cache and do to it; [*cache.Cache] is one.
// Evict and Pin take an image with or without its tag, or a digest.
type Cache interface {
	Snapshot() cache.Snapshot
	List(ctx context.Context, query string) []cache.Entry
	Evict(ctx context.Context, what string) (cache.Change, error)
	Pin(ctx context.Context, what string, pinned bool) (cache.Change, error)
	Verify(ctx context.Context, report func(blobstore.Finding)) error
	GC(ctx context.Context) (freed int64, err error)
}

// CacheObjects answers GET /api/v1/cache/objects.
type CacheObjects struct {
	Total   int           `json:"total"`   // how many match
	Objects []cache.Entry `json:"objects"` // the first of them, as many as the limit lets through
}

// CacheRequest is the body of the POSTs below /api/v1/cache. Evicting takes What,
// pinning both; the others take neither. All take a Reason.
type CacheRequest struct {
	What   string `json:"what,omitempty"`   // "docker.io/library/alpine:3.20", "docker.io/library/alpine" or a digest
	Reason string `json:"reason,omitempty"` // for the audit line
	Pinned *bool  `json:"pinned,omitempty"` // false unpins; not to be left out when that is meant
}

// CacheVerified is a line of the answer to POST /api/v1/cache:verify: a wrong
// object if it has a Digest, else how far it is, and how it went if Done.
type CacheVerified struct {
	Objects int           `json:"objects"` // hashed so far
	Bytes   int64         `json:"bytes"`   // in them
	Wrong   int           `json:"wrong"`   // of them
	Digest  digest.Digest `json:"digest"`
	Size    int64         `json:"size"`
	Error   string        `json:"error"` // why the object is wrong; with Done, why not all were hashed
	Done    bool          `json:"done"`  // the last line; an answer without it was cut
}

// CacheFreed answers POST /api/v1/cache:gc.
type CacheFreed struct {
	Bytes int64 `json:"freed_bytes"`
}

// How many objects one answer lists. An Entry is about half a KiB of JSON.
const (
	defaultObjects = 1000
	maxObjects     = 10000
)

// cacheRoutes are what there is to read of the cache, and to do to it.
var cacheRoutes = []route{
	{
		method: http.MethodGet, path: "/api/v1/cache", serve: (*handler).cacheStats,
		doc: doc{id: "cache", about: "The cache in figures.", answer: cache.Snapshot{}, problems: []string{"cache_off"}},
	},
	{
		method: http.MethodGet, path: "/api/v1/cache/objects", serve: (*handler).objects,
		doc: doc{
			id: "cacheObjects", about: "What is in the cache, of all or of what is searched for.", answer: CacheObjects{},
			query: []param{
				{"q", "string", "part of an image's name, or of a digest"},
				{"limit", "integer", "how many at most, up to 10000; 1000 if it is left out"},
			},
			problems: []string{"cache_off", "bad_request", "cross_origin"},
		},
	},
	cacheAction("evict", "Removes an image or an object.", cache.Change{}, (*handler).evict, "not_cached", "in_use", "cache_read_only"),
	cacheAction("pin", "Keeps an image or an object from being evicted, or no longer.", cache.Change{}, (*handler).pin, "not_cached", "cache_read_only"),
	cacheAction("verify", "Hashes every object, and tells in one line of JSON after the other how far it is; each is a CacheVerified.", nil, (*handler).verify),
	cacheAction("gc", "Removes what is of no use any more.", CacheFreed{}, (*handler).gc, "cache_read_only"),
}

// cacheStats answers with the cache's snapshot.
func (h *handler) cacheStats(w http.ResponseWriter, r *http.Request) {
	if h.hasCache(w, r) {
		answer(w, r, h.Cache.Snapshot())
	}
}

// objects lists what is in the cache.
func (h *handler) objects(w http.ResponseWriter, r *http.Request) {
	if !h.hasCache(w, r) {
		return
	}
	if IsForeign(r) { // the list is made of all of the store
		crossOrigin(w, r)
		return
	}
	limit := defaultObjects
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxObjects {
			problem(w, r, http.StatusBadRequest, "bad_request", "limit is a number from 1 to "+strconv.Itoa(maxObjects))
			return
		}
		limit = n
	}
	list := h.Cache.List(r.Context(), r.URL.Query().Get("q"))
	shown := list[:min(limit, len(list))]
	answer(w, r, CacheObjects{Total: len(list), Objects: append([]cache.Entry{}, shown...)}) // [] and never null
}

// hasCache answers for a daemon that has no cache, and reports whether it has.
func (h *handler) hasCache(w http.ResponseWriter, r *http.Request) bool {
	if h.Cache != nil {
		return true
	}
	why := "the cache is switched off: [cache] enabled = false"
	if c := h.Snapshot().Cache; c != nil && c.Trouble != "" {
		why = "the cache cannot be used: " + c.Trouble
	}
	problem(w, r, http.StatusNotFound, "cache_off", why)
	return false
}

// cacheAction is the route of an action on the cache, whose body is a CacheRequest.
func cacheAction(verb, about string, result any, do func(*handler, http.ResponseWriter, *http.Request, CacheRequest), problems ...string) route {
	d := doc{
		id: "cache" + strings.ToUpper(verb[:1]) + verb[1:], about: about, body: CacheRequest{}, answer: result,
		problems: append([]string{"cache_off", "bad_request", "internal"}, problems...),
	}
	if result == nil {
		d.media = linesMedia
	}
	return route{method: http.MethodPost, path: "/api/v1/cache:" + verb, doc: d, serve: func(h *handler, w http.ResponseWriter, r *http.Request) {
		var ask CacheRequest
		if decode(w, r, &ask) && h.hasCache(w, r) {
			do(h, w, r, ask)
		}
	}}
}

// linesMedia is one JSON value in each line.
const linesMedia = "application/x-ndjson"

// evict removes an image or an object. A body that also pins is refused: it says
// two things.
func (h *handler) evict(w http.ResponseWriter, r *http.Request, ask CacheRequest) {
	if ask.What == "" || ask.Pinned != nil && *ask.Pinned {
		problem(w, r, http.StatusBadRequest, "bad_request", `the body is {"what": an image or a digest}`)
		return
	}
	change, err := h.Cache.Evict(r.Context(), ask.What)
	h.audit(r, "cache_evict", ask.What, ask.Reason, change, err)
	changed(w, r, change, err)
}

// pin keeps an image or an object from being evicted, or no longer. "pinned" must
// be there: a body without it is half a request, and the zero value would unpin.
func (h *handler) pin(w http.ResponseWriter, r *http.Request, ask CacheRequest) {
	if ask.What == "" || ask.Pinned == nil {
		problem(w, r, http.StatusBadRequest, "bad_request", `the body is {"what": an image or a digest, "pinned": true or false}`)
		return
	}
	change, err := h.Cache.Pin(r.Context(), ask.What, *ask.Pinned)
	h.audit(r, pinVerb(*ask.Pinned), ask.What, ask.Reason, change, err)
	changed(w, r, change, err)
}

// pinVerb is how audit lines call a pin.
func pinVerb(pinned bool) string {
	if pinned {
		return "cache_pin"
	}
	return "cache_unpin"
}

// changed answers with what was changed.
func changed(w http.ResponseWriter, r *http.Request, change cache.Change, err error) {
	if err != nil {
		failed(w, r, err)
		return
	}
	answer(w, r, change)
}

// failed answers with an error of the cache. It may hold paths of the daemon's
// machine, which an operator may know.
func failed(w http.ResponseWriter, r *http.Request, err error) {
	status, code := http.StatusInternalServerError, "internal"
	switch {
	case errors.Is(err, blobstore.ErrNotFound):
		status, code = http.StatusNotFound, "not_cached"
	case errors.Is(err, blobstore.ErrInUse):
		status, code = http.StatusConflict, "in_use"
	case errors.Is(err, blobstore.ErrReadOnly):
		status, code = http.StatusConflict, "cache_read_only"
	case pullchain.ReasonOf(err) == pullchain.Invalid:
		status, code = http.StatusBadRequest, "bad_request"
	}
	problem(w, r, status, code, err.Error())
}

// answer sends v as JSON.
func answer(w http.ResponseWriter, r *http.Request, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		problem(w, r, http.StatusInternalServerError, "internal", "the answer cannot be written as JSON")
		return
	}
	send(w, r, http.StatusOK, "application/json", append(body, '\n'))
}
