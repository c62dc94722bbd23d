// Package wire spells registry requests and answers as the OCI distribution
// specification does, and reads them back: /v2 paths, names and digests, byte
// ranges, Retry-After and quota headers, Link paging, error bodies, media types
// and manifests.
//
// Everything here is pure: no I/O (but for [WriteError], which writes to the
// ResponseWriter it is given), no logging, no clock. All of its input comes from
// the network, so every reader is strict about what it lets in, bounded, and
// fuzzed; what it returns is safe to build a URL, a header or a log attribute of.
package wire

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/pullchain/pullchain"
)

// Limits of what is read from a peer (docs/faults.md 5, the unbounded reads of
// CVE-2023-2253 and its kin), in bytes.
const (
	MaxManifest = 8 << 20  // a manifest or index; the spec's floor is 4 MB
	MaxError    = 64 << 10 // an error body; the rest is not read
	MaxTags     = 8 << 20  // one page of a tags list; Artifact Registry adds the manifests: 2.7 MB for 9000 tags
	maxName     = 255      // a repository name, as most clients have it
	maxTag      = 128      // distribution-spec, "Pulling manifests"
)

// maxPath is the longest path that can be right: "/v2/" + name + "/referrers/" +
// a sha512 digest, with its colon escaped.
const maxPath = len("/v2/") + maxName + len("/referrers/sha512%3A") + 128

// Kind is what sort of endpoint a path names.
type Kind uint8

// The kinds. The zero Kind is none of them.
const (
	Ping    Kind = iota + 1 // /v2/
	Catalog                 // /v2/_catalog
	Read                    // an endpoint that pullchain.Request can express
)

// A Target is what the path and query of a request name.
type Target struct {
	Kind Kind
	// Req is set for Read: Op, Repo, Tag or Digest, and Query. Repo is the whole
	// name as the client sent it, a registry or alias in front of it included.
	Req pullchain.Request
}

// A PathError says why a path is no Target, in the words to give the client.
type PathError struct {
	Status  int       // 400, or 404 for a well-formed path that is no endpoint
	Code    ErrorCode // NAME_INVALID, MANIFEST_INVALID, DIGEST_INVALID, …
	Message string    // safe to print: see [Clip]
}

func (e *PathError) Error() string { return string(e.Code) + ": " + e.Message }

// Parse reads a request's path, from /v2 on and as it stood on the request line
// ([url.URL.EscapedPath]), and its raw query. An error is always a *[PathError].
//
// It is strict: a percent sign other than in "%3A" for the colon of a digest, a
// backslash, control byte, empty or dot segment is an error, so that no two hops
// can read one path differently (docs/faults.md 6, smuggling). Parse(Path(r), r.Query)
// gives r back, and Path gives back every path without "%3A".
//
// The query is kept for Tags and Referrers only, in canonical form and without
// ns, which is for the front alone. Other parameters are kept, because paging
// cursors are not the same everywhere (Quay's is next_page).
func Parse(escapedPath, rawQuery string) (Target, error) {
	if len(escapedPath) > maxPath {
		return Target{}, nameInvalid("path is too long")
	}
	rest, ok := strings.CutPrefix(escapedPath, "/v2")
	switch {
	case !ok || rest != "" && rest[0] != '/':
		return Target{}, noEndpoint(escapedPath)
	case rest == "" || rest == "/":
		return Target{Kind: Ping}, nil
	case rest == "/_catalog":
		return Target{Kind: Catalog}, nil
	}
	name, op, ref := splitPath(rest[1:])
	req, err := parseRead(name, op, ref)
	if err != nil {
		return Target{}, err
	}
	if req.Op == pullchain.Tags || req.Op == pullchain.Referrers {
		if req.Query, err = cleanQuery(rawQuery); err != nil {
			return Target{}, err
		}
	}
	return Target{Kind: Read, Req: req}, nil
}

// splitPath cuts "<name>/<op>/<ref>" from the right: a name may hold a component
// called "manifests", a reference holds no slash.
func splitPath(path string) (name, op, ref string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return path, "", ""
	}
	rest, ref := path[:i], path[i+1:]
	i = strings.LastIndexByte(rest, '/')
	if i < 0 {
		return path, "", ""
	}
	return rest[:i], rest[i+1:], ref
}

func parseRead(name, op, ref string) (pullchain.Request, error) {
	req := pullchain.Request{Repo: name}
	switch {
	case op == "manifests":
		req.Op = pullchain.Manifest
	case op == "blobs":
		req.Op = pullchain.Blob
	case op == "referrers":
		req.Op = pullchain.Referrers
	case op == "tags" && ref == "list":
		req.Op = pullchain.Tags
	default:
		return req, notRead(name, op, ref)
	}
	if err := CheckRepo(name); err != nil {
		return req, nameInvalid(err.Error())
	}
	if req.Op == pullchain.Tags {
		return req, nil
	}
	// Some clients escape what they need not (PathEscape of the whole digest).
	if i := strings.IndexByte(ref, '%'); i >= 0 && i+3 <= len(ref) && strings.EqualFold(ref[i:i+3], "%3a") {
		ref = ref[:i] + ":" + ref[i+3:]
	}
	if req.Op == pullchain.Manifest && !strings.Contains(ref, ":") {
		if err := CheckTag(ref); err != nil {
			return req, &PathError{http.StatusBadRequest, CodeManifestInvalid, err.Error()}
		}
		req.Tag = ref
		return req, nil
	}
	digest, err := CheckDigest(ref)
	if err != nil {
		return req, &PathError{http.StatusBadRequest, CodeDigestInvalid, err.Error()}
	}
	req.Digest = digest
	return req, nil
}

// notRead tells a path that is merely unknown from one that is malformed.
func notRead(name, op, ref string) error {
	for part := range strings.SplitSeq(name+"/"+op+"/"+ref, "/") {
		if part == "." || part == ".." || strings.ContainsAny(part, "%\\") || hasControl(part) {
			return nameInvalid("path segment " + quoteShort(part) + " is not allowed")
		}
	}
	return noEndpoint(name)
}

func nameInvalid(message string) error {
	return &PathError{http.StatusBadRequest, CodeNameInvalid, message}
}

func noEndpoint(path string) error {
	return &PathError{http.StatusNotFound, CodeNameUnknown, "no endpoint of the registry API at " + quoteShort(path)}
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// Path returns the path of r, as in "/v2/library/alpine/manifests/3.20". It is
// the inverse of [Parse]. It trusts r: Repo, Tag and Digest come from Parse or
// have passed [CheckRepo], [CheckTag] and [CheckDigest]. The query is r.Query.
func Path(r pullchain.Request) string {
	switch r.Op {
	case pullchain.Manifest:
		return "/v2/" + r.Repo + "/manifests/" + r.Reference()
	case pullchain.Blob:
		return "/v2/" + r.Repo + "/blobs/" + r.Digest.String()
	case pullchain.Tags:
		return "/v2/" + r.Repo + "/tags/list"
	case pullchain.Referrers:
		return "/v2/" + r.Repo + "/referrers/" + r.Digest.String()
	}
	panic(fmt.Sprintf("wire: no path for op %d", r.Op))
}
