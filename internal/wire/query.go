package wire

import (
	"net/http"
	"net/url"
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
