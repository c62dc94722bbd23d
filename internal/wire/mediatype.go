package wire

import "strings"

// The media types of manifests: the two of OCI image-spec and the four of Docker.
const (
	TypeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	TypeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	TypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	TypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	TypeDockerSchema1  = "application/vnd.docker.distribution.manifest.v1+json"
	TypeDockerSigned1  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// DefaultAccept is what to ask for where no client says what it takes: all that a
// current client does (docs/protocol.md 4.4). A registry picks what a tag means by it.
// It is read-only.
var DefaultAccept = []string{TypeOCIIndex, TypeDockerList, TypeOCIManifest, TypeDockerManifest, "*/*"}

// IsManifestType reports whether contentType is one of the six, parameters and
// case aside.
func IsManifestType(contentType string) bool {
	switch BareType(contentType) {
	case TypeOCIIndex, TypeOCIManifest, TypeDockerList, TypeDockerManifest, TypeDockerSchema1, TypeDockerSigned1:
		return true
	}
	return false
}

// CanonicalType returns contentType as clients compare it, byte by byte, if it is one of
// the six: the case of a type does not matter, and a charset of JSON says nothing
// (RFC 9110 8.3.1, RFC 8259 11). Another type stays as it is.
func CanonicalType(contentType string) string {
	if IsManifestType(contentType) {
		return BareType(contentType)
	}
	return contentType
}

// SameKind reports whether two types are OCI's and Docker's name for the same kind of
// document, or one and the same.
func SameKind(a, b string) bool { return ociType(a) == ociType(b) }

// ociType returns OCI's name for a kind of document that has one.
func ociType(mediaType string) string {
	switch mediaType {
	case TypeDockerList:
		return TypeOCIIndex
	case TypeDockerManifest:
		return TypeOCIManifest
	}
	return mediaType
}

// IsIndexType reports whether contentType is an OCI index or a Docker list.
func IsIndexType(contentType string) bool {
	bare := BareType(contentType)
	return bare == TypeOCIIndex || bare == TypeDockerList
}

// BareType returns a Content-Type without its parameters, in lower case.
func BareType(contentType string) string {
	bare, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(bare))
}
