// Package quirks holds, as data, what other people's registries, CDNs, gateways
// and mirrors do to a pull that no specification says: each [Quirk] has a name, a
// line that tells what it does, the kind of report that it is known from, and
// layers over a registry that does everything right.
//
//	q, _ := quirks.Find("range-400-cdn")
//	registry := quirks.NewRegistry()
//	handler := q.Handler(registry, host) // state of its own, such as "the first answer only"
//
// The differential matrix of internal/e2e plays all of them against real clients,
// with and without pullchain (docs/matrix.md). A handler runs wherever one is
// wanted: in httptest, or as an origin of internal/simnet. The package knows
// nothing of the program that it is used on.
package quirks

import (
	"net/http"
	"strings"
)

// OddPrefix begins the path of the one image that quirks of a single image speak
// of: everything else at that registry is well.
const OddPrefix = "/v2/odd/"

// A Quirk is one oddity of a registry, or two of them at once.
type Quirk struct {
	Name   string // in lower case with hyphens; two names and a plus for a pair
	About  string // one line: what the registry does
	Source string // the kind of public report that it is known from

	// Registry are the layers over the registry itself, the outermost first.
	Registry []Layer
	// CDN are the layers over the host that the registry redirects blobs to. Nil
	// means that blobs are not redirected; an empty list, that they are.
	CDN []Layer
	// Link makes the Location of a blob at the CDN, whose base is the host that
	// serves them; nil is the plain one.
	Link func(base string, r *http.Request) string
	// LinkStatus is the status of that redirect; zero is 307.
	LinkStatus int
	// SameHost says that the CDN is the registry's own host.
	SameHost bool

	// ListedTag is a tag that the whole list of odd/app has, for quirks of lists of
	// tags: a pull asks for none. Empty for all others.
	ListedTag string
	// Passes says that the odd image fails at first by its nature, and a later pull of
	// it is the one to look at.
	Passes bool
	// Wrong says that it sends wrong bytes, which a client sees unless a blob is
	// proved before it is shown.
	Wrong bool
	// Slow says that a play takes many seconds by its nature.
	Slow bool
}

// A Layer is a middleware with state of its own from each call on.
type Layer func(s *Stage, next http.Handler) http.Handler

// A Stage is what surrounds the layers of one registry: the network.
type Stage struct {
	// Host serves a handler on another host, and returns that one's base URL.
	Host func(http.Handler) string
}

// Handler is the good registry with the quirk. Host is as in [Stage]; state such
// as "the first answer" begins anew with each call.
func (q Quirk) Handler(good http.Handler, host func(http.Handler) string) http.Handler {
	s := &Stage{Host: host}
	inner := good
	if q.CDN != nil {
		cdn := stack(q.CDN, s, contentHost(good))
		base := ""
		if !q.SameHost {
			base = host(cdn)
		}
		inner = q.linked(base, cdn, good)
	}
	return stack(q.Registry, s, inner)
}

func stack(layers []Layer, s *Stage, inner http.Handler) http.Handler {
	for i := len(layers) - 1; i >= 0; i-- {
		inner = layers[i](s, inner)
	}
	return inner
}

// cdnPath begins the paths of blobs at a CDN; behind it stands the registry's.
const cdnPath = "/cdn"

// contentHost serves blobs below cdnPath as a bucket does: it is no registry, and
// says nothing of digests.
func contentHost(good http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isBlob(r) {
			http.NotFound(w, r)
			return
		}
		to := r.Clone(r.Context())
		to.URL.Path = strings.TrimPrefix(r.URL.Path, cdnPath)
		to.URL.RawQuery = ""
		alter(good, w, to, func(a *answer) {
			a.header.Del("Docker-Distribution-Api-Version")
			a.header.Del("Docker-Content-Digest")
		})
	})
}

// linked redirects blobs to the CDN, and serves the CDN too if it is this host.
func (q Quirk) linked(base string, cdn, good http.Handler) http.Handler {
	status := q.LinkStatus
	if status == 0 {
		status = http.StatusTemporaryRedirect
	}
	link := q.Link
	if link == nil {
		link = func(base string, r *http.Request) string { return base + cdnPath + r.URL.Path }
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, cdnPath+"/"):
			cdn.ServeHTTP(w, r)
		case isBlob(r):
			redirect(w, status, link(base, r))
		default:
			good.ServeHTTP(w, r)
		}
	})
}

// All returns every quirk that is no pair.
func All() []Quirk {
	var all []Quirk
	for _, kind := range [][]Quirk{
		ranges(), blobBodies(), labels(), encodings(), heads(), links(), refusals(), referrers(), lists(), routers(), tokenServers(), connections(),
	} {
		all = append(all, kind...)
	}
	return all
}

// Find returns the quirk of that name, a pair by "one+other".
func Find(name string) (Quirk, bool) {
	first, second, pair := strings.Cut(name, "+")
	if pair {
		a, okA := Find(first)
		b, okB := Find(second)
		return both(a, b), okA && okB
	}
	for _, q := range All() {
		if q.Name == name {
			return q, true
		}
	}
	return Quirk{}, false
}
