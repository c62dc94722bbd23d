package wire

import (
	"errors"
	"strings"
)

// UnknownKind says whether a document that [ParseManifest] refuses may be passed on as
// it came, because it is of a kind that we do not know and not one that two readers
// could take for two things (docs/faults.md 0.1). kind is the media type that names it,
// by its own word or by the label's; it is empty where nothing does, and then only a
// digest can say that the document is what was asked for.
//
// What is ambiguous stays refused (CVE-2021-41190): two shapes in one document, a key
// twice, one of the six types on a shape that is not its own, and a label and a document
// that name two kinds.
func UnknownKind(contentType string, body []byte) (kind string, ok bool) {
	sent := BareType(contentType)
	doc, err := readDocument(body)
	if err != nil { // no JSON object has none of the keys that could be read in two ways
		return "", !IsManifestType(sent) && errors.Is(err, errNoObject)
	}
	shapes := 0
	for _, there := range []bool{
		doc.has["manifests"], doc.has["config"] || doc.has["layers"], doc.has["fsLayers"],
	} {
		if there {
			shapes++
		}
	}
	named := doc.MediaType
	switch {
	case len(named) > maxMediaType || hasControl(named), shapes > 1:
		return "", false
	case shapes == 1 && (named == "" || IsManifestType(named)): // ours to judge, and ParseManifest has
		return "", false
	case named != "":
		return named, sent == strings.ToLower(named) || IsVagueType(sent)
	case IsVagueType(sent) || IsManifestType(sent):
		return "", true
	}
	return contentType, true
}

// IsVagueType reports whether a Content-Type says nothing of what kind of manifest it
// labels: none, or what web servers and object stores call a file that they do not know.
func IsVagueType(contentType string) bool {
	bare := BareType(contentType)
	switch bare {
	case "", "application/json", "application/octet-stream", "binary/octet-stream", "application/xml":
		return true
	}
	return strings.HasPrefix(bare, "text/") || !strings.Contains(bare, "/")
}
