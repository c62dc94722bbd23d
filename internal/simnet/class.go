package simnet

import (
	"net/http"
	"strings"
)

// A Class is what a request is about. Classes are bits: a [Fault] or a
// [Filter] may name several, and 0 means every class.
type Class uint16

// The classes of requests.
const (
	Ping      Class = 1 << iota // /v2/
	Manifests                   // /v2/<repo>/manifests/<ref>
	Blobs                       // /v2/<repo>/blobs/<digest>, and the CDN's objects
	Tags                        // /v2/<repo>/tags/list
	Referrers                   // /v2/<repo>/referrers/<digest>
	Token                       // /token, and a relay's /v2/auth
	Connect                     // a tunnel asked of an egress proxy
	Other                       // anything else
)

// String names the class in lower case, "any" for 0, "mixed" for several.
func (c Class) String() string {
	names := map[Class]string{
		0: "any", Ping: "ping", Manifests: "manifest", Blobs: "blob", Tags: "tags",
		Referrers: "referrers", Token: "token", Connect: "connect", Other: "other",
	}
	if s, ok := names[c]; ok {
		return s
	}
	return "mixed"
}

// A route is a request path, understood.
type route struct {
	class Class
	repo  string
	ref   string // tag or digest
}

// routeOf understands the path of r. It is lenient: this package plays
// servers, whose clients' mistakes are the tests' to find.
func routeOf(r *http.Request) route {
	if r.Method == http.MethodConnect {
		return route{class: Connect, ref: r.Host}
	}
	path := r.URL.Path
	switch {
	case path == "/token", path == "/v2/auth":
		return route{class: Token}
	case path == "/v2/", path == "/v2":
		return route{class: Ping}
	case strings.HasPrefix(path, cdnPrefix):
		_, ref := splitObject(path)
		return route{class: Blobs, repo: r.URL.Query().Get("repo"), ref: ref}
	}
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return route{class: Other}
	}
	if repo, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		return route{class: Tags, repo: repo}
	}
	for infix, class := range map[string]Class{"/manifests/": Manifests, "/blobs/": Blobs, "/referrers/": Referrers} {
		if i := strings.LastIndex(rest, infix); i > 0 {
			return route{class: class, repo: rest[:i], ref: rest[i+len(infix):]}
		}
	}
	return route{class: Other}
}
