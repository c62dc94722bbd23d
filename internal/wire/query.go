package wire

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const (
	maxQuery  = 2048 // bytes; opaque cursors are long, but not this long
	maxParams = 16
)

// cleanQuery returns a list's query in canonical form: sorted, escaped one way,
// each parameter once, without ns. What two parsers could read differently (";",
// bad escapes, control bytes) is an error.
func cleanQuery(raw string) (string, error) {
	values, ok := parseQuery(raw)
	if !ok {
		return "", &PathError{http.StatusBadRequest, CodeUnsupported, "malformed query"}
	}
	if n := values.Get("n"); values.Has("n") && (len(n) > 9 || !isNumber(n)) {
		return "", &PathError{http.StatusBadRequest, CodePaginationInvalid, "n is not a number of entries: " + quoteShort(n)}
	}
	values.Del("ns")
	return values.Encode(), nil
}

func parseQuery(raw string) (url.Values, bool) {
	if len(raw) > maxQuery || strings.Count(raw, "&") >= maxParams {
		return nil, false
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, false
	}
	for key, list := range values {
		if key == "" || hasControl(key) || hasControl(list[0]) {
			return nil, false
		}
		values[key] = list[:1] // the first one: what most servers take
	}
	return values, true
}

// isNumber matches 1*DIGIT, which strconv does not: it takes signs too.
func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// listParams are the parameters of lists that are known: those of the specification, and
// Quay's cursor.
var listParams = []string{"n", "last", "artifactType", "next_page"}

// KeepParams returns what of a list's query, as [Parse] gives it, may go on: the
// parameters that are known, and those of which named says that the upstream itself has
// named them.
func KeepParams(query string, named func(name string) bool) string {
	if query == "" {
		return ""
	}
	values, ok := parseQuery(query)
	if !ok {
		return ""
	}
	for name := range values {
		if !slices.Contains(listParams, name) && !named(name) {
			values.Del(name)
		}
	}
	return values.Encode()
}

// OwnParams returns the names in the query of a link that no list is known to have: a
// cursor of the upstream's own.
func OwnParams(next *url.URL) []string {
	values, ok := parseQuery(next.RawQuery)
	if !ok {
		return nil
	}
	var names []string
	for name := range values {
		if !slices.Contains(listParams, name) && name != "ns" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
