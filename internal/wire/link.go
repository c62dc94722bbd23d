package wire

import (
	"net/url"
	"strings"
)

// maxLink bounds the Link headers that are looked at, in bytes.
const maxLink = 8 << 10

// ParseLink finds the rel="next" target in Link headers (RFC 8288), resolved
// against base, the URL that was asked. The target comes from the network and may
// be on any host: the caller checks it before it follows it, as with a redirect
// (docs/faults.md 5, ggcr #2293). Targets other than http and https, and those with a
// login, are not ok; a fragment is dropped.
func ParseLink(values []string, base *url.URL) (next *url.URL, ok bool) {
	for _, value := range values {
		if len(value) > maxLink {
			continue
		}
		for value != "" {
			var target string
			var isNext bool
			if target, isNext, value = cutLink(value); isNext {
				return resolveLink(target, base)
			}
		}
	}
	return nil, false
}

func resolveLink(target string, base *url.URL) (*url.URL, bool) {
	if strings.ContainsAny(target, "\\ \"") {
		return nil, false // browsers and servers disagree on these; Parse refuses control bytes
	}
	next, err := url.Parse(target)
	if err != nil {
		return nil, false
	}
	if base != nil {
		next = base.ResolveReference(next)
	}
	if next.Scheme != "https" && next.Scheme != "http" || next.Host == "" || next.User != nil || next.Opaque != "" {
		return nil, false
	}
	next.Fragment, next.RawFragment = "", ""
	return next, true
}

// cutLink takes the first link-value off s: `<target>; rel="next"; …`. It always
// shortens s. A value without "<…>" is skipped.
func cutLink(s string) (target string, isNext bool, rest string) {
	open := strings.IndexByte(s, '<')
	if open < 0 {
		return "", false, ""
	}
	target, s, closed := strings.Cut(s[open+1:], ">")
	if !closed {
		return "", false, ""
	}
	var seenRel, anchored bool
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" || s[0] != ';' {
			break
		}
		var name, value string
		name, value, s = cutParam(s[1:])
		switch {
		case strings.EqualFold(name, "anchor"):
			anchored = true // speaks of another resource (RFC 8288 3.2)
		case strings.EqualFold(name, "rel") && !seenRel: // later ones are ignored (3.3)
			seenRel = true
			isNext = hasRelation(value, "next")
		}
	}
	_, rest, _ = strings.Cut(s, ",")
	return target, isNext && !anchored, rest
}

// cutParam takes `name=value` or `name="quoted"` off s, up to the next ";" or ",".
func cutParam(s string) (name, value, rest string) {
	end := strings.IndexAny(s, "=;,")
	if end < 0 {
		return strings.TrimSpace(s), "", ""
	}
	name = strings.TrimSpace(s[:end])
	if s[end] != '=' {
		return name, "", s[end:]
	}
	s = strings.TrimLeft(s[end+1:], " \t")
	if s == "" || s[0] != '"' {
		end = strings.IndexAny(s, ";,")
		if end < 0 {
			return name, strings.TrimSpace(s), ""
		}
		return name, strings.TrimSpace(s[:end]), s[end:]
	}
	value, rest = cutQuoted(s[1:])
	return name, value, rest
}

// cutQuoted reads a quoted-string whose opening quote is already gone.
func cutQuoted(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:]
		case '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}

func hasRelation(value, want string) bool {
	for word := range strings.FieldsSeq(value) {
		if strings.EqualFold(word, want) {
			return true
		}
	}
	return false
}

// NextLink returns the Link header that sends our client to the page that an
// upstream calls next: relative, on the client's own path, with next's query. Of
// requestURI, which is the client's path with or without its query, the path and
// the ns parameter are kept. It is "" if next is nil or its query is malformed.
func NextLink(requestURI string, next *url.URL) string {
	own, err := url.Parse(requestURI)
	if err != nil || next == nil {
		return ""
	}
	path := own.EscapedPath()
	query, ok := parseQuery(next.RawQuery)
	if !ok || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
		return ""
	}
	query.Del("ns")
	if ns := own.Query().Get("ns"); ns != "" {
		query.Set("ns", ns)
	}
	target := path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	return "<" + target + `>; rel="next"`
}
