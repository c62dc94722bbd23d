package cache

import (
	"strconv"
	"strings"

	"github.com/pullchain/pullchain/internal/wire"
)

// accepts is what a client's Accept amounts to: the set of the manifest types that
// it takes. A registry picks what a tag means by it (docs/protocol.md 4.4), so that it
// belongs to the key of a tag; and as clients spell the same set in many ways,
// nothing else of the header does.
type accepts uint8

// The types of the set. Schema 1 is none of them: no client of today prefers it.
const (
	acceptOCIIndex accepts = 1 << iota
	acceptOCIManifest
	acceptDockerList
	acceptDockerManifest

	acceptAll = acceptOCIIndex | acceptOCIManifest | acceptDockerList | acceptDockerManifest
)

// acceptOf reads the Accept headers of a client. One that has none takes all: that
// is what upstreams are asked for then.
func acceptOf(headers []string) accepts {
	if len(headers) == 0 {
		return acceptAll
	}
	var set accepts
	for _, header := range headers {
		for header != "" && set != acceptAll {
			var item string
			item, header, _ = strings.Cut(header, ",")
			mediaType, params, _ := strings.Cut(item, ";")
			if params == "" || !refused(params) {
				set |= acceptsOf(strings.TrimSpace(mediaType))
			}
		}
	}
	return set
}

func acceptsOf(mediaType string) accepts {
	if set := acceptsExactly(mediaType); set != 0 { // as nearly all clients spell it
		return set
	}
	return acceptsExactly(wire.BareType(mediaType))
}

func acceptsExactly(mediaType string) accepts {
	switch mediaType {
	case "*/*", "application/*":
		return acceptAll
	case wire.TypeOCIIndex:
		return acceptOCIIndex
	case wire.TypeOCIManifest:
		return acceptOCIManifest
	case wire.TypeDockerList:
		return acceptDockerList
	case wire.TypeDockerManifest:
		return acceptDockerManifest
	}
	return 0
}

// question returns the Accept to ask a registry with for a client of this set,
// whose own words are given. Clients that share an answer have to have asked the same:
// registries look for exact types, and one that is asked for "*/*" may well answer
// with an image of one platform, where all four types get the index (distribution,
// registry/handlers/manifests.go). nil is what upstreams ask for by themselves: all.
func (set accepts) question(own []string) []string {
	switch set {
	case acceptAll:
		return nil
	case 0:
		return own
	}
	var types []string
	for _, mediaType := range wire.DefaultAccept {
		if one := acceptsExactly(mediaType); one != acceptAll && set&one != 0 {
			types = append(types, mediaType)
		}
	}
	return types
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
