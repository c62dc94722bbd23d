// Package pullchain defines the words the rest of the program speaks: a
// [Request] for something in a registry, the [Response] to it, and the
// [Fetcher] that turns the one into the other.
//
// The program is a chain of Fetchers. A cache is a Fetcher in front of a
// balancer, which is a Fetcher over upstreams, each of which is a Fetcher over
// one HTTP path to one registry. None of them knows which kind comes next.
//
// It does no I/O and no logging.
package pullchain

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// A Fetcher answers reads of a registry.
//
// Fetch returns once the response's headers are known; the body streams after.
// The context governs the body too. A failed Fetch returns an error for which
// [ReasonOf] gives a meaningful Reason, and a zero Response.
type Fetcher interface {
	Fetch(ctx context.Context, req Request) (Response, error)
}

// Op is the registry endpoint a Request reads.
type Op uint8

// The endpoints of the OCI distribution specification that read.
const (
	Manifest  Op = iota + 1 // /v2/<repo>/manifests/<tag or digest>
	Blob                    // /v2/<repo>/blobs/<digest>
	Tags                    // /v2/<repo>/tags/list
	Referrers               // /v2/<repo>/referrers/<digest>
)

// String returns the word used in logs and metrics.
func (o Op) String() string {
	switch o {
	case Manifest:
		return "manifest"
	case Blob:
		return "blob"
	case Tags:
		return "tags"
	case Referrers:
		return "referrers"
	}
	return "none"
}

// Class is the part of an upstream that an outcome speaks of. Docker Hub limits
// manifests and not blobs, and blobs come from a CDN that fails on its own, so
// breakers and cooldowns are kept per class (docs/faults.md F08, F14).
type Class uint8

// The classes; NumClasses is their number, for arrays indexed by Class.
const (
	ClassManifest Class = iota // manifests, tags, referrers: the registry itself
	ClassBlob                  // blobs: the registry's redirect and its CDN
	ClassToken                 // the token server
	NumClasses
)

// String returns the word used in configuration, logs and the API.
func (c Class) String() string {
	return [...]string{"manifest", "blob", "token"}[c]
}

// A Request is one read of a registry, in the registry's own terms and free of
// how any upstream spells them. It is a plain value: to ask for something
// slightly different, copy it and change the copy.
type Request struct {
	Op       Op
	Head     bool          // headers only
	Registry string        // canonical host, as in "docker.io"
	Repo     string        // full name, as in "library/alpine"
	Tag      string        // manifests by tag; else empty
	Digest   digest.Digest // blobs, referrers, manifests by digest; else empty
	Range    Range         // blobs only
	Size     int64         // of the whole blob in bytes, as a manifest of the repository has it; 0 if none has told
	Accept   []string      // media types the client takes, verbatim; never modified
	Query    string        // raw query of tags and referrers lists
	Bearer   Secret        // the client's own token, for upstreams that pass it on and for no other; empty for none
	Options  FetchOptions  // what the answer is for, and how much trouble it is worth
}

// FetchOptions say what a Request is for. The zero FetchOptions are a client's
// own request: every lane may be tried, and only verified bytes may complete a
// blob.
type FetchOptions struct {
	// Unverified says that the caller checks a blob's bytes against the digest
	// itself. Then they are passed on as they come, a 200 of the whole may
	// answer a request for a range, and the Body tells its [Source].
	Unverified bool

	// NoForce says that there is something to fall back on: lanes whose gates are
	// closed are not tried, not even when all are (docs/architecture.md: cache, then stale,
	// then one forced try).
	NoForce bool

	// Speculative says that the same blob is being fetched already, and this is to
	// make it faster: only lanes that are free of charge, below their connection
	// limit and known to honour ranges are asked. It implies NoForce.
	Speculative bool

	// Avoid names upstreams to ask after all others.
	Avoid []string

	// Login is the fingerprint of a login: the lane that has it is asked first, as it
	// has given what is asked about, and so can tell whether it still does.
	Login string

	// Via names the pullchains that the request has come through, the first one first, as
	// their header has it; empty for a request of no pullchain's. What several requests
	// share goes by that of the first.
	Via string

	// HeadersOnly says that a HEAD's headers are enough, however little they tell.
	// Else what they lack of size and digest is found out by GET.
	HeadersOnly bool

	// AnyHeader says that a document by a tag is wanted even where its digest header
	// names other bytes: no upstream has one that agrees with itself.
	AnyHeader bool
}

// Immutable reports whether every right answer to r is the same bytes.
func (r Request) Immutable() bool {
	return r.Digest != "" && (r.Op == Blob || r.Op == Manifest)
}

// Class returns the class whose gates r has to pass.
func (r Request) Class() Class {
	if r.Op == Blob {
		return ClassBlob
	}
	return ClassManifest
}

// Reference returns the tag or the digest that r names.
func (r Request) Reference() string {
	if r.Digest != "" {
		return r.Digest.String()
	}
	return r.Tag
}

// Image returns the name a person would type for what r reads, for logs.
func (r Request) Image() string {
	name := r.Registry + "/" + r.Repo
	switch {
	case r.Digest != "":
		return name + "@" + r.Digest.String()
	case r.Tag != "":
		return name + ":" + r.Tag
	}
	return name
}

// A Range is the bytes [From, To) of a blob. To is 0 for "to the end", so the
// zero Range is the whole blob. A negative From with To 0 is the last -From
// bytes, as in "bytes=-500".
type Range struct{ From, To int64 }

// Whole reports whether r asks for everything.
func (r Range) Whole() bool { return r == Range{} }

// A Response is what a registry has for a Request.
type Response struct {
	Status    int           // 200 or 206
	MediaType string        // Content-Type
	Digest    digest.Digest // of the whole content, if known
	Size      int64         // of the whole content; -1 if unknown
	Range     Range         // the bytes Body carries, when Status is 206; To is never 0 then
	Header    http.Header   // other end-to-end headers worth passing on; may be nil
	Body      Body          // never nil; closing it frees the upstream connection
	Links     []Descriptor  // what a manifest points at; nil for all but manifest GETs
	Quota     *Quota        // what the upstream said of its pull quota; nil if nothing
	Private   bool          // it took a login to get this, of the configuration or the client's own
	Login     string        // a fingerprint of that login; empty if it took none, or that is not known
	Unproved  bool          // its first byte waits until all are proved right, which may take long; see [Source]
	Cache     CacheResult   // what the cache had to do with it; empty if there is none
	Age       time.Duration // since an upstream last said so; more than 0 only from a cache
	Attempts  []Attempt     // how this answer came about, in order; the one without Err and Gate served it
}

// Trace returns every attempt behind r so far: those of its Body, which may know of
// later ones, or else Attempts.
func (r Response) Trace() []Attempt {
	if r.Body != nil {
		if all := r.Body.Attempts(); all != nil {
			return all
		}
	}
	return r.Attempts
}

// CacheResult says what a cache had to do with an answer. The words are those of
// logs and metrics.
type CacheResult string

// The results.
const (
	CacheHit       CacheResult = "hit"       // it had the content
	CacheMiss      CacheResult = "miss"      // fetched and kept
	CacheCoalesced CacheResult = "coalesced" // fetched already for another request
	CacheStale     CacheResult = "stale"     // it had the content, and no upstream could say whether it is still right
	CacheBypass    CacheResult = "bypass"    // fetched and not kept
)

// A Descriptor names content by digest, as manifests do (OCI image-spec,
// descriptor.md).
type Descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
	Platform  Platform      `json:"platform,omitzero"` // in an index: what the manifest is for
}

// A Platform says what an image runs on (OCI image-spec, image-index.md). It is the
// manifest's word, and may be anything.
type Platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant,omitempty"`
}

// UnmarshalJSON reads a platform, or nothing of one that is written in another way: no
// pull hangs on it.
func (p *Platform) UnmarshalJSON(text []byte) error {
	type plain Platform
	var read plain
	if json.Unmarshal(text, &read) == nil {
		*p = Platform(read)
	}
	return nil
}

// String returns the platform as people type it, as in linux/arm64/v8; empty if there is none.
func (p Platform) String() string {
	switch {
	case p.Architecture == "":
		return p.OS
	case p.Variant == "":
		return p.OS + "/" + p.Architecture
	}
	return p.OS + "/" + p.Architecture + "/" + p.Variant
}

// A Quota is an upstream's answer to "how many pulls are left"
// (docs/protocol.md 4.1: ratelimit-limit, ratelimit-remaining).
type Quota struct {
	Limit     int           // pulls per window; 0 if the upstream did not say
	Remaining int           // pulls left in this window
	Window    time.Duration // 0 if the upstream did not say
	Source    string        // the address or account it counts by; may be empty
	At        time.Time     // when it was read
}

// Low reports whether a tenth or less of the quota is left, which is when a
// chain starts to spare it (docs/faults.md F08).
func (q *Quota) Low() bool {
	return q != nil && q.Limit > 0 && q.Remaining*10 <= q.Limit
}

// Spent reports whether nothing of the quota is left.
func (q *Quota) Spent() bool { return q != nil && q.Limit > 0 && q.Remaining == 0 }

// An Attempt records one try at one upstream, for logs, the dashboard and the
// detail of error answers.
type Attempt struct {
	Upstream string
	Offset   int64         // where in the blob this try began
	Start    time.Time     // when it was begun
	Took     time.Duration // until headers, a failure, or the gate's refusal
	Hedge    bool          // started beside another try that had not answered yet
	Gate     string        // the gate that kept the lane from being asked; empty if it was asked
	Err      error         // nil for the try that served
}

// ServedBy returns the upstream that served last, or "".
func ServedBy(attempts []Attempt) string {
	for _, a := range slices.Backward(attempts) {
		if a.Err == nil && a.Gate == "" {
			return a.Upstream
		}
	}
	return ""
}

// Facts are what an upstream has learnt of its far end, for people to read.
type Facts struct {
	Quota     *Quota        // the last reading; nil if there was none
	Skew      time.Duration // the far end's clock minus ours, at the last answer
	TLSExpiry time.Time     // of the leaf certificate; zero for plain HTTP or before contact
	TLSIssuer string
	Addresses []string  // that were last dialled, its own or its proxy's, the latest first; not to be changed
	Blobs     BlobFacts // of the place where its blobs lie
	HeldBack  time.Time // until when a bound of the configuration last made a blob wait; zero for never
}

// BlobFacts is what is known of the host to which an upstream redirects for its blobs.
type BlobFacts struct {
	Host   string    // with the port if the redirect named one; empty if none led elsewhere
	Failed time.Time // when a blob last failed there; zero if one has come whole since
	Code   Code      // of that failure
}
