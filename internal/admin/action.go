package admin

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
)

// An action is what a POST does, once act has let it through.
type action func(*handler, http.ResponseWriter, *http.Request)

// actions are what POSTs do.
var actions = map[string]action{
	"/api/v1/cache:evict":    cacheAction((*handler).evict),
	"/api/v1/cache:pin":      cacheAction((*handler).pin),
	"/api/v1/cache:verify":   cacheAction((*handler).verify),
	"/api/v1/cache:gc":       cacheAction((*handler).gc),
	"/api/v1/upstream:reset": (*handler).reset,
	"/api/v1/demo:throw":     (*handler).throw,
}

// act answers a request for one of the actions. A page of another site could
// have a browser send a form here: it cannot give it the type of JSON without
// asking us first, and browsers say where a request comes from (docs/faults.md 6).
func (h *handler) act(w http.ResponseWriter, r *http.Request) {
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", "POST")
		problem(w, r, http.StatusMethodNotAllowed, "method_not_allowed", "only POST")
	case h.foreign.Check(r) != nil:
		problem(w, r, http.StatusForbidden, "cross_origin", "this request comes from a page of another site")
	case mediaType != "application/json":
		problem(w, r, http.StatusUnsupportedMediaType, "not_json", "send JSON, with Content-Type: application/json")
	default:
		actions[r.URL.Path](h, w, r)
	}
}

// maxRequest is how long the body of a POST may be.
const maxRequest = 64 << 10

// decode reads the body of a POST into ask, and answers for one that cannot be.
func decode(w http.ResponseWriter, r *http.Request, ask any) bool {
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	// A misspelt key is a mistake, and not one that was left out.
	body.DisallowUnknownFields()
	if err := body.Decode(ask); err != nil {
		problem(w, r, http.StatusBadRequest, "bad_request", "the body is not what is expected here: "+err.Error())
		return false
	}
	if _, err := body.Token(); !errors.Is(err, io.EOF) {
		problem(w, r, http.StatusBadRequest, "bad_request", "something follows the JSON object")
		return false
	}
	return true
}
