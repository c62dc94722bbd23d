package quirks

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
)

// A match picks the requests that a quirk concerns.
type match func(*http.Request) bool

func isBlob(r *http.Request) bool      { return strings.Contains(r.URL.Path, "/blobs/") }
func isManifest(r *http.Request) bool  { return strings.Contains(r.URL.Path, "/manifests/") }
func isReferrers(r *http.Request) bool { return strings.Contains(r.URL.Path, "/referrers/") }
func isTags(r *http.Request) bool      { return strings.HasSuffix(r.URL.Path, "/tags/list") }
func isPing(r *http.Request) bool      { return r.URL.Path == "/v2/" || r.URL.Path == "/v2" }
func isRanged(r *http.Request) bool    { return r.Header.Get("Range") != "" }
func isAny(*http.Request) bool         { return true }
func isOdd(r *http.Request) bool {
	return strings.HasPrefix(strings.TrimPrefix(r.URL.Path, cdnPath), OddPrefix)
}

// isTagged reports whether a manifest is asked for by its tag.
func isTagged(r *http.Request) bool { return isManifest(r) && !strings.Contains(lastOf(r), ":") }

// all matches what each of them does.
func all(each ...match) match {
	return func(r *http.Request) bool {
		for _, m := range each {
			if !m(r) {
				return false
			}
		}
		return true
	}
}

func method(name string) match { return func(r *http.Request) bool { return r.Method == name } }

// An answer is what comes back for one request, before it is sent.
type answer struct {
	status   int
	header   http.Header
	body     []byte
	chunked  bool // sent without a length
	unending bool // and without the last chunk
	cut      int  // the connection is closed after so many bytes; zero is never, below zero at none
}

// Header, Write and WriteHeader let a handler write into the answer.
func (a *answer) Header() http.Header { return a.header }

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	a.body = append(a.body, b...)
	return len(b), nil
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// alter answers with what next would say, changed by change.
func alter(next http.Handler, w http.ResponseWriter, r *http.Request, change func(*answer)) {
	a := &answer{header: http.Header{}}
	next.ServeHTTP(a, r)
	a.WriteHeader(http.StatusOK)
	change(a)
	a.send(w, r)
}

// send writes the answer. Its Content-Length stays as it is if it says one that the
// quirk has made up for HEAD; for GET the server would refuse it.
func (a *answer) send(w http.ResponseWriter, r *http.Request) {
	maps.Copy(w.Header(), a.header)
	if _, typed := a.header["Content-Type"]; !typed {
		w.Header()["Content-Type"] = nil // or net/http would guess one
	}
	if r.Method == http.MethodHead {
		w.WriteHeader(a.status)
		return
	}
	w.Header().Del("Content-Length")
	if !a.chunked && !a.unending && a.status != http.StatusNotModified && a.status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	body := a.body
	if a.cut != 0 {
		body = body[:max(0, min(a.cut, len(body)))]
	}
	_, _ = w.Write(body)
	if a.cut != 0 || a.unending || a.chunked {
		_ = http.NewResponseController(w).Flush()
	}
	if a.cut != 0 || a.unending {
		panic(http.ErrAbortHandler)
	}
}

// changed is a layer that alters the answers to the requests that match.
func changed(m match, change func(r *http.Request, a *answer)) Layer {
	return func(_ *Stage, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !m(r) {
				next.ServeHTTP(w, r)
				return
			}
			alter(next, w, r, func(a *answer) { change(r, a) })
		})
	}
}

// replaced is a layer that gives an answer of its own to the requests that match.
func replaced(m match, h http.HandlerFunc) Layer {
	return func(_ *Stage, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if m(r) {
				h(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// A counter counts by path.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

// next counts one more, and returns how many there are.
func (c *counter) next(path string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[path]++
	return c.n[path]
}

// firstChanged alters the first n answers of each path. A refusal does not count: a
// client asks again with a token.
func firstChanged(n int, m match, change func(r *http.Request, a *answer)) Layer {
	return func(s *Stage, next http.Handler) http.Handler {
		var count counter
		return changed(m, func(r *http.Request, a *answer) {
			if a.status < 400 && count.next(r.URL.Path) <= n {
				change(r, a)
			}
		})(s, next)
	}
}

// firstReplaced replaces the first n answers of each path.
func firstReplaced(n int, m match, h http.HandlerFunc) Layer {
	return func(s *Stage, next http.Handler) http.Handler {
		var count counter
		return replaced(func(r *http.Request) bool { return m(r) && count.next(r.URL.Path) <= n }, h)(s, next)
	}
}

// say answers with a body; an empty mediaType is no Content-Type at all.
func say(w http.ResponseWriter, r *http.Request, status int, mediaType, body string) {
	if mediaType == "" {
		w.Header()["Content-Type"] = nil
	} else {
		w.Header().Set("Content-Type", mediaType)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(body))
	}
}

// sayError answers with an error in the words of the distribution spec.
func sayError(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	say(w, r, status, "application/json", fmt.Sprintf(`{"errors":[{"code":%q,"message":%q}]}`, code, message))
}

// saying is say as a handler.
func saying(status int, mediaType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { say(w, r, status, mediaType, body) }
}

// refusing is sayError as a handler.
func refusing(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { sayError(w, r, status, code, message) }
}

const page = "<!DOCTYPE html><html><body>Sign in</body></html>"

func redirect(w http.ResponseWriter, status int, to string) {
	w.Header()["Location"] = []string{to} // as it is, with what does not belong into one
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}

// baseOf is the URL of the host that was asked.
func baseOf(r *http.Request) string { return "http://" + r.Host }

func label(mediaType string) func(*http.Request, *answer) {
	return func(_ *http.Request, a *answer) {
		if a.status >= 300 {
			return
		}
		a.header.Del("Content-Type")
		if mediaType != "" {
			a.header.Set("Content-Type", mediaType)
		}
	}
}

// isWhole reports whether the answer has all the bytes of something.
func isWhole(r *http.Request, a *answer) bool {
	return r.Method == http.MethodGet && a.status == http.StatusOK && !bytes.Equal(a.body, nil)
}
