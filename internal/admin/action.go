package admin

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
)

// act answers a request for an action, whose body is JSON. A page of another site could
// have a browser send a form here: it cannot give it the type of JSON without
// asking us first, and browsers say where a request comes from (docs/faults.md 6).
func (h *handler) act(rt *route, w http.ResponseWriter, r *http.Request) {
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case h.foreign.Check(r) != nil:
		crossOrigin(w, r)
	case mediaType != "application/json":
		problem(w, r, http.StatusUnsupportedMediaType, "not_json", "send JSON, with Content-Type: application/json")
	default:
		rt.serve(h, w, r)
	}
}

func crossOrigin(w http.ResponseWriter, r *http.Request) {
	problem(w, r, http.StatusForbidden, "cross_origin", "this request comes from a page of another site")
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
