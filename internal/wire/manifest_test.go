package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/pullchain/pullchain"
)

// Descriptors of the test documents.
func descriptor(mediaType string, d digest.Digest, size int64) pullchain.Descriptor {
	return pullchain.Descriptor{MediaType: mediaType, Digest: d, Size: size}
}

const (
	configJSON = `"config":{"mediaType":"c","digest":"` + sha256 + `","size":1}`
	layersJSON = `"layers":[{"mediaType":"l","digest":"` + sha512 + `","size":2,"urls":["http://169.254.169.254/"]}]`
	listJSON   = `"manifests":[{"mediaType":"m","digest":"` + sha256 + `","size":3,"platform":{"os":"linux","architecture":"arm64","variant":"v8","os.features":["x"]}}]`
	schema1    = `{"schemaVersion":1,"name":"a","tag":"b","architecture":"amd64","fsLayers":[{"blobSum":"` + sha256 + `"}],"history":[],"signatures":[]}`
)

// onPlatform is an index's entry for a platform.
func onPlatform(os, arch, variant string) string {
	return `{"mediaType":"m","digest":"` + sha256 + `","size":3,"platform":{"os":"` + os + `","architecture":"` + arch + `","variant":"` + variant + `"}}`
}

func image(mediaType string) string { return document2(mediaType, configJSON, layersJSON) }
func index(mediaType string) string { return document2(mediaType, listJSON) }

func document2(mediaType string, parts ...string) string {
	all := []string{`"schemaVersion":2`}
	if mediaType != "" {
		all = append(all, `"mediaType":"`+mediaType+`"`)
	}
	return "{" + strings.Join(append(all, parts...), ",") + "}"
}

func TestParseManifest(t *testing.T) {
	t.Parallel()
	imageLinks := []pullchain.Descriptor{descriptor("c", sha256, 1), descriptor("l", sha512, 2)}
	bareLinks := []pullchain.Descriptor{descriptor("m", sha256, 3)}
	indexLinks := []pullchain.Descriptor{descriptor("m", sha256, 3)}
	indexLinks[0].Platform = pullchain.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
	tests := []struct {
		name, sent, body, want string
		links                  []pullchain.Descriptor
		err                    error // nil or ErrMediaType
	}{
		{"oci image", TypeOCIManifest, image(TypeOCIManifest), TypeOCIManifest, imageLinks, nil},
		{"docker image", TypeDockerManifest, image(TypeDockerManifest), TypeDockerManifest, imageLinks, nil},
		{"oci index", TypeOCIIndex, index(TypeOCIIndex), TypeOCIIndex, indexLinks, nil},
		{"docker list", TypeDockerList, index(TypeDockerList), TypeDockerList, indexLinks, nil},
		{"parameters and case", strings.ToUpper(TypeOCIIndex) + "; charset=utf-8", index(TypeOCIIndex), TypeOCIIndex, indexLinks, nil},
		{"no mediaType", TypeOCIManifest, image(""), TypeOCIManifest, imageLinks, nil},
		{"no mediaType, docker", TypeDockerManifest, image(""), TypeDockerManifest, imageLinks, nil},
		{"null mediaType", TypeOCIIndex, document2("", `"mediaType":null`, listJSON), TypeOCIIndex, indexLinks, nil},
		{"empty index", TypeOCIIndex, document2(TypeOCIIndex, `"manifests":[]`), TypeOCIIndex, nil, nil},
		{"null index", TypeOCIIndex, document2(TypeOCIIndex, `"manifests":null`), TypeOCIIndex, nil, nil},
		{"null layers", TypeOCIManifest, document2(TypeOCIManifest, configJSON, `"layers":null`), TypeOCIManifest, imageLinks[:1], nil},
		{"null manifests in an image", TypeOCIManifest, document2(TypeOCIManifest, configJSON, layersJSON, `"manifests":null`), TypeOCIManifest, imageLinks, nil},
		{"no version", TypeOCIIndex, `{` + listJSON + `}`, TypeOCIIndex, indexLinks, nil},
		{"more keys", TypeOCIManifest, document2(TypeOCIManifest, configJSON, layersJSON, `"subject":{"digest":"x"}`, `"annotations":{"layers":"x"}`, `"x":1`, `"x":2`), TypeOCIManifest, imageLinks, nil},
		{"other algorithms", TypeOCIIndex, document2("", `"manifests":[{"digest":"blake3:abc"},{"mediaType":"m","digest":"`+sha256+`","size":3}]`), TypeOCIIndex, bareLinks, nil},
		{"odd platforms", TypeOCIIndex, document2("", `"manifests":[{"mediaType":"m","digest":"`+sha256+`","size":3,"platform":"linux"},{"mediaType":"m","digest":"`+sha256+`","size":3,"platform":{"os":7}}]`), TypeOCIIndex, append(bareLinks, bareLinks...), nil},
		{"long platforms", TypeOCIIndex, document2("", `"manifests":[`+onPlatform("linux", strings.Repeat("a", 65), "")+`,`+onPlatform(strings.Repeat("o", 64), "a", "v")+`]`), TypeOCIIndex,
			append(bareLinks, pullchain.Descriptor{MediaType: "m", Digest: sha256, Size: 3, Platform: pullchain.Platform{OS: strings.Repeat("o", 64), Architecture: "a", Variant: "v"}}), nil},
		{"schema 1", TypeDockerSchema1, schema1, TypeDockerSchema1, nil, nil},
		{"signed schema 1", TypeDockerSigned1, schema1, TypeDockerSigned1, nil, nil},

		{"F27 vague type", "text/plain", image(TypeOCIManifest), TypeOCIManifest, imageLinks, nil},
		{"F27 no type", "", index(""), TypeOCIIndex, indexLinks, nil},
		{"F27 wrong type", TypeDockerManifest, image(TypeOCIManifest), TypeOCIManifest, imageLinks, ErrMediaType},
		{"F27 image as index", TypeOCIIndex, image(TypeDockerManifest), TypeDockerManifest, imageLinks, ErrMediaType},
		{"F27 schema 1 as json", "application/json", schema1, TypeDockerSigned1, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, links, err := ParseManifest(tt.sent, []byte(tt.body))
			if got != tt.want || !errors.Is(err, tt.err) { // Is(nil, nil) holds, Is(err, nil) does not
				t.Errorf("type %q, error %v; want %q, %v", got, err, tt.want, tt.err)
			}
			if len(links) == 0 {
				links = nil
			}
			if diff := cmp.Diff(tt.links, links); diff != "" {
				t.Errorf("links -want +got\n%s", diff)
			}
		})
	}
}

func TestParseManifestRefuses(t *testing.T) {
	t.Parallel()
	withDigest := func(d string) string {
		return document2(TypeOCIIndex, `"manifests":[{"mediaType":"m","digest":"`+d+`","size":3}]`)
	}
	tests := []struct{ name, sent, body string }{
		{"nothing", TypeOCIManifest, ""},
		{"html", TypeOCIManifest, "<!DOCTYPE html>"},
		{"array", TypeOCIManifest, "[]"},
		{"null", TypeOCIManifest, "null"},
		{"no keys", TypeOCIManifest, "{}"},
		{"error body", TypeOCIManifest, `{"errors":[{"code":"DENIED"}]}`},
		{"cut", TypeOCIManifest, image("")[:100]},
		{"two values", TypeOCIManifest, image("") + "{}"},
		{"rest", TypeOCIManifest, image("") + "x"},
		{"not UTF-8", TypeOCIManifest, strings.Replace(image(""), `"l"`, "\"\xff\"", 1)},
		{"BOM", TypeOCIManifest, "\ufeff" + image("")},
		{"deep", TypeOCIManifest, `{"x":` + strings.Repeat("[", 1<<20)},
		{"F25 too large", TypeOCIManifest, image("") + strings.Repeat(" ", MaxManifest)},

		// CVE-2021-41190.
		{"layers and manifests", TypeOCIManifest, document2(TypeOCIManifest, configJSON, layersJSON, listJSON)},
		{"layers and manifests, index", TypeOCIIndex, document2(TypeOCIIndex, layersJSON, listJSON)},
		{"config and manifests", TypeOCIIndex, document2(TypeOCIIndex, configJSON, listJSON)},
		{"empty layers and manifests", TypeOCIIndex, document2(TypeOCIIndex, `"layers":[]`, listJSON)},
		{"layers and empty manifests", TypeOCIManifest, document2(TypeOCIManifest, configJSON, layersJSON, `"manifests":[]`)},
		{"case hides manifests", TypeOCIManifest, document2(TypeOCIManifest, configJSON, layersJSON, strings.Replace(listJSON, "manifests", "Manifests", 1))},
		{"case of the only key", TypeOCIIndex, document2("", strings.Replace(listJSON, "manifests", "Manifests", 1))},
		{"long s hides layers", TypeOCIIndex, document2(TypeOCIIndex, listJSON, `"layer\u017f":[]`)},
		{"key twice", TypeOCIIndex, document2(TypeOCIIndex, listJSON, listJSON)},
		{"null key twice", TypeOCIIndex, document2(TypeOCIIndex, listJSON, `"manifests":null`)},
		{"mediaType twice", TypeOCIIndex, document2(TypeOCIIndex, listJSON, `"mediaType":"`+TypeOCIManifest+`"`)},
		{"schema 1 and layers", TypeDockerSchema1, strings.Replace(schema1, "{", "{"+layersJSON+",", 1)},
		{"schema 1 and manifests", TypeDockerSchema1, strings.Replace(schema1, "{", "{"+listJSON+",", 1)},
		{"schema 1 and config", TypeDockerSchema1, strings.Replace(schema1, "{", "{"+configJSON+",", 1)},
		{"index calls itself image", TypeOCIManifest, index(TypeOCIManifest)},
		{"image calls itself list", TypeDockerList, image(TypeDockerList)},
		{"unknown own type", TypeOCIIndex, index("application/vnd.example+json")},
		{"index sent as image", TypeOCIManifest, index("")},
		{"image sent as index", TypeDockerList, image("")},
		{"schema 1 sent as 2", TypeDockerManifest, schema1},
		{"version 1 image", TypeDockerManifest, strings.Replace(image(""), ":2", ":1", 1)},
		{"version 2 schema 1", TypeDockerSchema1, strings.Replace(schema1, ":1", ":2", 1)},
		{"version 3", TypeOCIIndex, strings.Replace(index(""), ":2", ":3", 1)},
		{"version as text", TypeOCIIndex, strings.Replace(index(""), ":2", `:"2"`, 1)},
		{"mediaType as number", TypeOCIIndex, document2("", listJSON, `"mediaType":1`)},

		{"layers without config", TypeOCIManifest, document2("", layersJSON)},
		{"layers as object", TypeOCIManifest, document2("", configJSON, `"layers":{}`)},
		{"config as text", TypeOCIManifest, document2("", `"config":"x"`, layersJSON)},
		{"null descriptor", TypeOCIIndex, document2("", `"manifests":[null]`)},
		{"empty digest", TypeOCIIndex, withDigest("")},
		{"short digest", TypeOCIIndex, withDigest("sha256:abc")},
		{"upper-case digest", TypeOCIIndex, withDigest("sha256:" + strings.ToUpper(hex256))},
		{"CVE-2024-3727 digest", TypeOCIIndex, withDigest("sha256:../../../etc/passwd")},
		{"CVE-2024-3727 other algorithm", TypeOCIIndex, withDigest("x:../../../etc/passwd")},
		{"negative size", TypeOCIIndex, document2("", `"manifests":[{"digest":"`+sha256+`","size":-1}]`)},
		{"huge size", TypeOCIIndex, document2("", `"manifests":[{"digest":"`+sha256+`","size":99999999999999999999}]`)},
		{"control byte in a type", TypeOCIIndex, document2("", `"manifests":[{"digest":"`+sha256+`","mediaType":"a\r\nb"}]`)},
		{"long type", TypeOCIIndex, document2("", `"manifests":[{"digest":"`+sha256+`","mediaType":"`+strings.Repeat("a", 300)+`"}]`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, links, err := ParseManifest(tt.sent, []byte(tt.body))
			if err == nil || errors.Is(err, ErrMediaType) || got != "" || links != nil {
				t.Fatalf("type %q, links %v, error %v; want only an error", got, links, err)
			}
			checkText(t, err.Error())
		})
	}
}

func TestCanonicalType(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		TypeOCIIndex: TypeOCIIndex,
		strings.ToUpper(TypeDockerManifest) + `; Charset="UTF-8"`: TypeDockerManifest,
		"Application/JSON; charset=utf-8":                         "Application/JSON; charset=utf-8",
		"":                                                        "",
	} {
		if got := CanonicalType(from); got != want {
			t.Errorf("%q: %q, want %q", from, got, want)
		}
	}
}

func TestSameKind(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{TypeOCIManifest, TypeDockerManifest, true},
		{TypeDockerList, TypeOCIIndex, true},
		{TypeOCIIndex, TypeOCIIndex, true},
		{TypeOCIManifest, TypeOCIIndex, false},
		{TypeDockerList, TypeDockerManifest, false},
		{TypeDockerSchema1, TypeDockerManifest, false},
		{"*/*", TypeOCIManifest, false},
	} {
		if got := SameKind(tt.a, tt.b); got != tt.same {
			t.Errorf("%s and %s: %t", tt.a, tt.b, got)
		}
	}
}

func TestMediaTypes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		contentType       string
		isManifest, index bool
	}{
		{TypeOCIIndex, true, true},
		{TypeDockerList, true, true},
		{TypeOCIManifest, true, false},
		{TypeDockerManifest, true, false},
		{TypeDockerSchema1, true, false},
		{TypeDockerSigned1, true, false},
		{" " + strings.ToUpper(TypeOCIIndex) + " ;charset=utf-8", true, true},
		{"application/json", false, false},
		{"text/html; charset=utf-8", false, false},
		{TypeOCIIndex + ".evil", false, false},
		{"", false, false},
	}
	for _, tt := range tests {
		if m, i := IsManifestType(tt.contentType), IsIndexType(tt.contentType); m != tt.isManifest || i != tt.index {
			t.Errorf("%q: manifest %t, index %t; want %t, %t", tt.contentType, m, i, tt.isManifest, tt.index)
		}
	}
}

func FuzzManifest(f *testing.F) {
	for _, body := range []string{
		image(TypeOCIManifest), image(""), index(TypeDockerList), index(""), schema1, "{}", "<html>",
		document2("", configJSON, layersJSON, listJSON), document2("", `"manifests":null`), document2("", listJSON, `"Layers":[]`),
		document2("", `"manifests":[{"digest":"blake3:abc"}]`), document2("", `"manifests":[{"digest":"sha256:..","size":-1}]`),
	} {
		for _, sent := range []string{TypeOCIManifest, TypeDockerList, "application/json"} {
			f.Add(sent, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, sent string, body []byte) {
		mediaType, links, err := ParseManifest(sent, body)
		if err != nil {
			checkText(t, err.Error())
			if !errors.Is(err, ErrMediaType) {
				if mediaType != "" || links != nil {
					t.Fatalf("error %v with %q, %v", err, mediaType, links)
				}
				return
			}
		}
		agrees := BareType(sent) == mediaType || !IsManifestType(sent)
		if !IsManifestType(mediaType) || agrees != (err == nil) {
			t.Fatalf("sent as %q, read as %q, %v", sent, mediaType, err)
		}
		if err := oneShape(body, mediaType); err != nil {
			t.Fatal(err)
		}
		for _, link := range links {
			if _, err := CheckDigest(link.Digest.String()); err != nil || link.Size < 0 {
				t.Fatalf("link %+v: %v", link, err)
			}
		}
	})
}

// oneShape reads body as a careless client does, case ignored and the last of
// equal keys winning, and says whether it could take it for something else.
func oneShape(body []byte, mediaType string) error {
	var doc struct {
		MediaType string            `json:"mediaType"`
		Config    any               `json:"config"`
		Layers    []json.RawMessage `json:"layers"`
		FSLayers  any               `json:"fsLayers"`
		Manifests []json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(body, &doc); err != nil && doc.FSLayers == nil {
		return err
	}
	isIndex := IsIndexType(mediaType)
	if isIndex && (doc.Config != nil || doc.Layers != nil || doc.FSLayers != nil) || !isIndex && doc.Manifests != nil {
		return fmt.Errorf("%s can be read in two ways: %s", mediaType, body)
	}
	if doc.MediaType != "" && doc.MediaType != mediaType {
		return fmt.Errorf("%s calls itself %s", mediaType, doc.MediaType)
	}
	return nil
}
