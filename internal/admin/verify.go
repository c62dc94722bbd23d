package admin

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
)

const (
	// progressEvery and progressAfter are when verifying tells how far it is,
	// whichever comes first.
	progressEvery = 100
	progressAfter = 2 * time.Second

	// patience is how long a reader of a long answer may take for a line, and how
	// long the work between two lines may: hashing the largest of layers takes a
	// minute on a slow disk.
	patience = 10 * time.Minute
)

// verify hashes all that there is, which takes as long as it takes: it tells
// line by line how far it is, and ends when the client has left.
func (h *handler) verify(w http.ResponseWriter, r *http.Request, ask CacheRequest) {
	if !empty(w, r, ask) {
		return
	}
	w.Header().Set("Content-Type", linesMedia)
	out := lines{to: http.NewResponseController(w), enc: json.NewEncoder(w)}
	out.open()
	sum, last := CacheVerified{}, time.Now()
	err := h.Cache.Verify(r.Context(), func(f blobstore.Finding) {
		sum.Objects++
		sum.Bytes += f.Size
		line := sum
		if f.Err != nil {
			sum.Wrong++
			line.Wrong, line.Digest, line.Size, line.Error = sum.Wrong, f.Digest, f.Size, f.Err.Error()
		}
		if f.Err != nil || sum.Objects%progressEvery == 0 || time.Since(last) > progressAfter {
			last = time.Now()
			out.write(line)
		}
	})
	h.audit(r, "cache_verify", "", ask.Reason, cache.Change{Objects: sum.Objects, Bytes: sum.Bytes}, err)
	sum.Done = true
	if err != nil {
		sum.Error = err.Error()
	}
	out.write(sum)
}

// gc removes what is of no use any more, which may take a while too.
func (h *handler) gc(w http.ResponseWriter, r *http.Request, ask CacheRequest) {
	if !empty(w, r, ask) {
		return
	}
	slow := lines{to: http.NewResponseController(w)}
	slow.open()
	freed, err := h.Cache.GC(r.Context())
	h.audit(r, "cache_gc", "", ask.Reason, cache.Change{Bytes: freed}, err)
	if err != nil {
		failed(w, r, err)
		return
	}
	answer(w, r, CacheFreed{freed})
}

// empty refuses a body that says more than the action can take: a request with an
// image's name means that image, and must not have all of the cache worked on.
func empty(w http.ResponseWriter, r *http.Request, ask CacheRequest) bool {
	if ask == (CacheRequest{Reason: ask.Reason}) {
		return true
	}
	problem(w, r, http.StatusBadRequest, "bad_request", "the body is {}: this is about the whole cache")
	return false
}

// lines are JSON values on their way to a reader that sees each at once.
type lines struct {
	to  *http.ResponseController
	enc *json.Encoder
}

// open lifts the server's time-outs, which are for short answers, from this
// connection. A writer that has none is as good.
func (l *lines) open() {
	_ = l.to.SetReadDeadline(time.Time{}) // or its end would look like the reader's leaving
	_ = l.to.SetWriteDeadline(time.Now().Add(patience))
}

// write sends one line. A client that does not read it has left, and that ends the
// request's context.
func (l *lines) write(v any) {
	_ = l.to.SetWriteDeadline(time.Now().Add(patience))
	_ = l.enc.Encode(v)
	_ = l.to.Flush()
}
