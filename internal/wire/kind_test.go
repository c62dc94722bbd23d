package wire

import (
	"strings"
	"testing"
)

// TestUnknownKind: a kind that we do not know passes as it came; what could be read in
// two ways does not (docs/faults.md 0.1, CVE-2021-41190).
func TestUnknownKind(t *testing.T) {
	t.Parallel()
	const artifact, example = "application/vnd.oci.artifact.manifest.v1+json", "application/vnd.example.v1+json"
	tests := map[string]struct {
		sent, body, kind string
		ok               bool
	}{
		"an artifact":                 {artifact, document2(artifact, `"blobs":[]`), artifact, true},
		"under a vague label":         {"text/plain; charset=utf-8", document2(artifact, `"blobs":[]`), artifact, true},
		"named by its label":          {example, `{"x":1}`, example, true},
		"an image's kin":              {example, image(example), example, true},
		"an index's kin":              {"", index(example), example, true},
		"named by nothing":            {"application/json", `{"x":1}`, "", true},
		"nothing of what its label":   {TypeOCIManifest, `{}`, "", true},
		"no JSON, vague":              {"application/octet-stream", "\x00\x01", "", true},
		"no JSON, an image":           {TypeOCIManifest, "<html>", "", false},
		"two names":                   {example, document2(artifact, `"blobs":[]`), "", false},
		"an image's label on another": {TypeOCIManifest, image(example), "", false},
		"index and image":             {example, document2(example, configJSON, layersJSON, listJSON), "", false},
		"null manifests beside":       {example, document2(example, layersJSON, `"manifests":null`), "", false},
		"layers in another case":      {example, document2(example, strings.Replace(layersJSON, "layers", "Layers", 1)), "", false},
		"a key twice":                 {example, document2(example, listJSON, listJSON), "", false},
		"an image that calls itself":  {TypeOCIIndex, image(TypeOCIIndex), "", false},
		"a bad digest in an index":    {TypeOCIIndex, document2("", `"manifests":[{"digest":"sha256:../x"}]`), "", false},
		"layers without a config":     {TypeOCIManifest, document2("", layersJSON), "", false},
		"a name with a line break":    {"", document2("a/b\\r\\nx", `"x":1`), "", false},
		"not UTF-8":                   {example, "{\"x\":\"\xff\"}", "", false},
	}
	for name, tt := range tests {
		kind, ok := UnknownKind(tt.sent, []byte(tt.body))
		if ok != tt.ok || ok && kind != tt.kind {
			t.Errorf("%s: %q, %t; want %q, %t", name, kind, ok, tt.kind, tt.ok)
		}
	}
}

func TestIsErrorBody(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bool{
		`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`: true,
		`{"errors":[{"status":404,"message":"not found"}]}`:                     true, // Artifactory
		`{"errors":[]}`:            false,
		`{"code":"NoSuchKey"}`:     false,
		`404 page not found`:       false,
		`default backend - 404`:    false,
		`<html><title>404</title>`: false,
		``:                         false,
	} {
		if got := IsErrorBody([]byte(body)); got != want {
			t.Errorf("%q: %t", body, got)
		}
	}
}
