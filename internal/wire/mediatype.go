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
