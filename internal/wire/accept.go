package wire

import (
	"slices"
	"strconv"
	"strings"
)

// maxAccept is how much of a client's Accept goes on beside the types that are known, in
// bytes. The longest that a client of today sends is 0.6 KB; servers refuse requests of
// 4 to 16 KB of headers, and what they refuse is to be this client's alone
// (docs/faults.md F55).
const maxAccept = 2 << 10

// BoundAccept returns a client's Accept in a form that any upstream takes: printable, and
// of media types that are not known at most 2 KiB. Headers that are so already, as all
// clients' are, are returned as they came. A header of which nothing is left is none,
// which is nil.
func BoundAccept(headers []string) []string {
	if isShortAccept(headers) {
		return headers
	}
	var kept, named []string
	room := maxAccept
	for _, header := range headers {
		for item := range strings.SplitSeq(header, ",") {
			item = strings.TrimSpace(item)
			bare := BareType(item)
			switch {
			case !isMediaRange(item) || slices.Contains(named, bare):
			case acceptsExactly(bare) != 0:
				named = append(named, bare)
				kept = append(kept, Cut(item, maxKnown, ""))
			case len(item)+len(", ") <= room:
				room -= len(item) + len(", ")
				kept = append(kept, item)
			}
		}
	}
	return kept
}

// maxKnown bounds a known type with its parameters.
const maxKnown = 128

// isShortAccept reports whether headers may go on as they are. No more than a look at
// each byte, for it is taken of every request.
func isShortAccept(headers []string) bool {
	length := 0
	for _, header := range headers {
		length += len(header) + len(", ")
		if header == "" || length > maxAccept || !isPrintable(header) {
			return false
		}
	}
	return true
}

func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// isMediaRange reports whether item looks like a media type with its parameters.
func isMediaRange(item string) bool {
	kind, sub, ok := strings.Cut(item, "/")
	return ok && kind != "" && sub != "" && isPrintable(item)
}

// Accepts is what a client's Accept amounts to: the set of the manifest types that
// it takes. A registry picks what a tag means by it (docs/protocol.md 4.4), so that it
// belongs to the key of a tag; and as clients spell the same set in many ways,
// nothing else of the header does.
type Accepts uint8

// The types of the set, and all of them. Schema 1 is none of them: no client of today
// prefers it.
const (
	AcceptOCIIndex Accepts = 1 << iota
	AcceptOCIManifest
	AcceptDockerList
	AcceptDockerManifest

	AcceptAll = AcceptOCIIndex | AcceptOCIManifest | AcceptDockerList | AcceptDockerManifest
)

// AcceptsOf reads the Accept headers of a client. One that has none takes all: that
// is what upstreams are asked for then.
func AcceptsOf(headers []string) Accepts {
	if len(headers) == 0 {
		return AcceptAll
	}
	var set Accepts
	for _, header := range headers {
		for header != "" && set != AcceptAll {
			var item string
			item, header, _ = strings.Cut(header, ",")
			mediaType, params, _ := strings.Cut(item, ";")
			if params == "" || !refused(params) {
				set |= acceptsType(strings.TrimSpace(mediaType))
			}
		}
	}
	return set
}

func acceptsType(mediaType string) Accepts {
	if set := acceptsExactly(mediaType); set != 0 { // as nearly all clients spell it
		return set
	}
	return acceptsExactly(BareType(mediaType))
}

func acceptsExactly(mediaType string) Accepts {
	switch mediaType {
	case "*/*", "application/*":
		return AcceptAll
	case TypeOCIIndex:
		return AcceptOCIIndex
	case TypeOCIManifest:
		return AcceptOCIManifest
	case TypeDockerList:
		return AcceptDockerList
	case TypeDockerManifest:
		return AcceptDockerManifest
	}
	return 0
}

// Question returns the Accept to ask a registry with for a client of this set,
// whose own words are given. Clients that share an answer have to have asked the same:
// registries look for exact types, and one that is asked for "*/*" may well answer
// with an image of one platform, where all four types get the index (distribution,
// registry/handlers/manifests.go). nil is what upstreams ask for by themselves: all.
func (set Accepts) Question(own []string) []string {
	switch set {
	case AcceptAll:
		return nil
	case 0:
		return own
	}
	types := slices.Clone(DefaultAccept)
	return slices.DeleteFunc(types, func(mediaType string) bool {
		one := acceptsExactly(mediaType)
		return one == AcceptAll || set&one == 0
	})
}

// refused reports whether the parameters say "not this one": q=0 (RFC 9110 12.4.2).
func refused(params string) bool {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		return err == nil && q == 0
	}
	return false
}
