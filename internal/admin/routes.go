package admin

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A route is one thing that the operator's plane can be asked for. The handler and the
// document for programs are made of the same table.
type route struct {
	method string // GET, which HEAD is as well, or POST
	path   string // "/api/v1/registries/{registry}", see match
	serve  func(*handler, http.ResponseWriter, *http.Request)
	public bool // needs no token
	form   bool // a browser's form comes here, which carries a token of its own
	doc    doc
}

// A doc is what the document for programs says of a route.
type doc struct {
	id       string   // of the operation, one word: "snapshot"
	about    string   // one sentence
	query    []param  // what may stand behind the question mark
	body     any      // of what type the body of a POST is; nil: it has none
	answer   any      // of what type the JSON of the answer is; nil: it is no JSON
	media    string   // the answer's media type if that is not JSON
	problems []string // the codes of errors that only some routes have
}

// A param is a value in a query.
type param struct {
	name  string
	kind  string // "string", "integer", "boolean" or "date-time"
	about string
}

// routes are all of them but the pages. Each noun has its own in its file.
var routes = slices.Concat(healthRoutes, snapshotRoutes, warningRoutes, eventRoutes, cacheRoutes, upstreamRoutes, operateRoutes, historyRoutes, trafficRoutes, demoRoutes, browserRoutes, actRoutes, debugRoutes)

// A lookup is what there is at a path.
type lookup struct {
	route *route   // the one for the method, or nil
	allow []string // the methods that there are for the path
}

// find looks a request up. What the path says of itself goes into the request's path
// values.
func find(r *http.Request) lookup {
	segments, ok := split(r.URL.EscapedPath())
	if !ok {
		return lookup{}
	}
	var at lookup
	verb := false // of the routes in at
	for i := range routes {
		rt := &routes[i]
		values, ok := match(rt.path, segments)
		if !ok {
			continue
		}
		// A GET of ".../docker.io:pin" asks for an action, and not for a registry of
		// that name.
		if has := strings.Contains(rt.path, "}:"); has != verb {
			if verb {
				continue
			}
			at, verb = lookup{}, true
		}
		at.allow = append(at.allow, methods(rt.method)...)
		if slices.Contains(methods(rt.method), r.Method) {
			at.route = rt
			for name, value := range values {
				r.SetPathValue(name, value)
			}
		}
	}
	return at
}

// methods are those that a route answers.
func methods(method string) []string {
	if method == http.MethodGet {
		return []string{http.MethodGet, http.MethodHead}
	}
	return []string{method}
}

// split returns the segments of a path, unescaped one by one: a name may have a slash
// in it, as %2F.
func split(escaped string) ([]string, bool) {
	segments := strings.Split(escaped, "/")
	for i, s := range segments {
		plain, err := url.PathUnescape(s)
		if err != nil {
			return nil, false
		}
		segments[i] = plain
	}
	return segments, true
}

// match compares segments with a pattern. In that, {name} stands for one segment, and
// {name}:verb for one that ends in the verb: the standard mux has no such pattern, and
// names of registries have colons in them.
func match(pattern string, segments []string) (values map[string]string, ok bool) {
	parts := strings.Split(pattern, "/")
	if len(parts) != len(segments) {
		return nil, false
	}
	for i, part := range parts {
		name, verb, wild := wildcard(part)
		value := segments[i]
		if !wild {
			if part != value {
				return nil, false
			}
			continue
		}
		value, ok := strings.CutSuffix(value, verb)
		if !ok || value == "" {
			return nil, false
		}
		if values == nil {
			values = map[string]string{}
		}
		values[name] = value
	}
	return values, true
}

// wildcard reads {name} or {name}:verb; the verb comes with its colon.
func wildcard(part string) (name, verb string, ok bool) {
	rest, ok := strings.CutPrefix(part, "{")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "}")
}
