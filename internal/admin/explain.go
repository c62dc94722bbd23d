package admin

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/cache"
)

// An Explainer says what would become of the pull of an image.
type Explainer interface {
	// Explain reads an image's name as people type it. It asks no upstream. The error
	// is [ErrNoImage] for what is no such name.
	Explain(ctx context.Context, image string) (Explanation, error)

	// Digests asks every upstream what the image's tag means to it, by HEAD and at
	// once, whatever its gates are, and has none judged by what it answers. It costs them
	// something, so it is done once in a while: the error may be a [*TooSoonError].
	Digests(ctx context.Context, image string) ([]UpstreamDigest, error)
}

// ErrNoImage is the error for what is no image's name.
var ErrNoImage = errors.New("this is no image's name")

// An Explanation is what would become of the pull of one image.
type Explanation struct {
	Schema     int               `json:"schema"` // the constant Schema
	Image      string            `json:"image"`  // as it was asked for
	Name       string            `json:"name"`   // in full: registry, repository, tag or digest
	Registry   string            `json:"registry"`
	Repo       string            `json:"repo"`
	Tag        string            `json:"tag"`        // "latest" if neither it nor a digest was named
	Digest     digest.Digest     `json:"digest"`     // that was named; empty if none was
	Served     bool              `json:"served"`     // the registry is configured; else the answer is 404 at once
	Alias      string            `json:"alias"`      // of the registry, by which the image was named; empty if by its name
	Strategy   balancer.Strategy `json:"strategy"`   // how its upstreams are ordered
	Candidates []Candidate       `json:"candidates"` // those that would be asked in their order, and then the others
	Cache      *cache.Holding    `json:"cache"`      // null if there is no cache
	Forms      []ClientForm      `json:"forms"`      // how clients can ask for it
	Digests    []UpstreamDigest  `json:"digests"`    // null unless they were asked for
	Agree      *bool             `json:"agree"`      // all upstreams that answered mean the same; null if no two did
}

// A Candidate is an upstream as this image's request would meet it.
type Candidate struct {
	balancer.Candidate
	State string `json:"state"` // of its lane
	Via   string `json:"via"`
	Trust string `json:"trust"`
}

// A ClientForm is one way of a client to name the image.
type ClientForm struct {
	Form string `json:"form"` // default, ns or path
	Path string `json:"path"` // that it asks the mirror for
	Pull string `json:"pull"` // what a person types for it
}

// An UpstreamDigest is what one upstream means by a tag.
type UpstreamDigest struct {
	Upstream  string         `json:"upstream"`
	Digest    digest.Digest  `json:"digest"`     // empty if it did not say
	MediaType string         `json:"media_type"` // that it said
	Code      pullchain.Code `json:"code"`       // why there is no answer
	Error     string         `json:"error"`
	MS        int64          `json:"took_ms"`
}

var explainRoutes = []route{{
	method: http.MethodGet, path: "/api/v1/explain", serve: showExplanation,
	doc: doc{
		id: "explain", about: "What would become of the pull of an image: which registry it means, which upstreams would be asked in which order, and what the cache has of it.",
		answer: Explanation{},
		query: []param{
			{"image", "string", "a name as people type it: alpine, ghcr.io/owner/app:1, or with @sha256:…"},
			{"digests", "boolean", "also ask every upstream what the tag means to it; once in a while"},
		},
		problems: []string{"bad_request", "cross_origin", "too_soon", "not_found", "internal"},
	},
}}

func showExplanation(h *handler, w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	digests, err := strconv.ParseBool(q.Get("digests"))
	switch {
	case h.Explainer == nil:
		problem(w, r, http.StatusNotFound, "not_found", "there is nothing to be explained here")
		return
	case err != nil && q.Get("digests") != "":
		problem(w, r, http.StatusBadRequest, "bad_request", "digests is true or false")
		return
	case IsForeign(r): // it reads much of the cache, and has requests sent with our logins
		crossOrigin(w, r)
		return
	}
	e, err := Explain(r.Context(), h.Explainer, q.Get("image"), digests)
	var soon *TooSoonError
	switch {
	case errors.As(err, &soon):
		w.Header().Set("Retry-After", strconv.Itoa(int((soon.Wait+time.Second-1)/time.Second)))
		problem(w, r, http.StatusTooManyRequests, "too_soon", err.Error())
	case errors.Is(err, ErrNoImage):
		problem(w, r, http.StatusBadRequest, "bad_request", err.Error())
	case err != nil:
		problem(w, r, http.StatusInternalServerError, "internal", err.Error())
	default:
		answer(w, r, e)
	}
}

// Explain explains an image, and compares what its tag means to the upstreams if
// digests. Errors are those of from.
func Explain(ctx context.Context, from Explainer, image string, digests bool) (Explanation, error) {
	e, err := from.Explain(ctx, image)
	if err != nil {
		return e, err
	}
	e.Schema = Schema
	if digests && e.Served {
		e.Digests, err = from.Digests(ctx, image)
		e.Agree = agree(e.Digests)
	}
	return e, err
}

// agree reports whether all that have answered mean the same; nil if fewer than two
// have.
func agree(digests []UpstreamDigest) *bool {
	var known []digest.Digest
	for _, d := range digests {
		if d.Digest != "" {
			known = append(known, d.Digest)
		}
	}
	if len(known) < 2 {
		return nil
	}
	same := true
	for _, d := range known {
		same = same && d == known[0]
	}
	return &same
}

// A TooSoonError is why something was not done that costs others something.
type TooSoonError struct{ Wait time.Duration } // until it may be asked for again

// Error says so.
func (e *TooSoonError) Error() string {
	return "this was asked for just now, and costs the upstreams something"
}
