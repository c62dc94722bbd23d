package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pullchain/pullchain"
)

// ErrMediaType is in the error of [ParseManifest] when the document is sound and
// only the Content-Type it came with names another kind of manifest. The caller
// may serve it as the type returned, if its bytes hash to the digest asked for
// (docs/faults.md F27).
var ErrMediaType = errors.New("content type does not agree with the manifest")

// maxMediaType bounds the media types kept of descriptors (RFC 6838 4.2: 127 + 1 + 127).
const maxMediaType = 255

// maxPlatformText bounds each text of a platform. The longest that Go knows has nine
// bytes, and they are kept for as long as the manifest is.
const maxPlatformText = 64

// ParseManifest reads a manifest or index that came with the Content-Type
// contentType, and returns the media type that the document has by its own word
// (or, where it has none, by contentType and its shape) and what it points at: an
// index's manifests; a manifest's config, then its layers. Descriptors with a
// digest algorithm that pullchain does not read are left out; so is the subject,
// which is not needed to pull.
//
// A contentType that is no manifest's (application/json, text/plain, nothing)
// contradicts nothing and is no error: the caller, which sees that [IsManifestType]
// is false of it, decides as with [ErrMediaType].
//
// A document that two readers could take for two things is an error: one with
// layers and manifests both, with a key of these twice or in another case, or
// with a shape that contradicts its media type (CVE-2021-41190). Schema 1 is
// taken as it is, without links.
func ParseManifest(contentType string, body []byte) (mediaTypeInside string, links []pullchain.Descriptor, err error) {
	if len(body) > MaxManifest {
		return "", nil, fmt.Errorf("manifest exceeds %d bytes", MaxManifest)
	}
	doc, err := readDocument(body)
	if err != nil {
		return "", nil, fmt.Errorf("manifest: %w", err)
	}
	if mediaTypeInside, err = doc.mediaType(BareType(contentType)); err != nil {
		return "", nil, fmt.Errorf("manifest: %w", err)
	}
	if links, err = doc.links(); err != nil {
		return "", nil, fmt.Errorf("manifest: %w", err)
	}
	if bare := BareType(contentType); bare != mediaTypeInside && IsManifestType(bare) {
		err = fmt.Errorf("manifest is %s, sent as %s: %w", mediaTypeInside, quoteShort(bare), ErrMediaType)
	}
	return mediaTypeInside, links, err
}

// errNoObject is a body that is no JSON object at all.
var errNoObject = errors.New("not a JSON object")

// document holds the top-level values of a manifest that decide what it is.
// A value of JSON null counts as absent, except in has.
type document struct {
	SchemaVersion int
	MediaType     string
	Config        json.RawMessage
	Layers        json.RawMessage
	Manifests     json.RawMessage
	FSLayers      json.RawMessage
	has           map[string]bool // the keys of guarded that are there, null or not
}

// guarded are the keys that no document may have twice or in another case, since
// readers differ in which of them they take: encoding/json ignores case.
var guarded = []string{"schemaVersion", "mediaType", "config", "layers", "manifests", "fsLayers"}

func readDocument(body []byte) (*document, error) {
	if !utf8.Valid(body) {
		return nil, errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, errNoObject
	}
	doc := &document{has: make(map[string]bool)}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, jsonError(err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, jsonError(err)
		}
		if err := doc.set(key.(string), value); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, jsonError(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return doc, nil
}

// jsonError keeps the peer's text, which encoding/json quotes, harmless and short.
func jsonError(err error) error { return errors.New(Clip(err.Error())) }

func (d *document) set(key string, value json.RawMessage) error {
	for _, name := range guarded {
		if !strings.EqualFold(key, name) {
			continue
		}
		if key != name || d.has[name] {
			return fmt.Errorf("ambiguous key %s", quoteShort(key))
		}
		d.has[name] = true
		if string(value) == "null" {
			return nil
		}
		return d.assign(name, value)
	}
	return nil
}

func (d *document) assign(name string, value json.RawMessage) error {
	var err error
	switch name {
	case "schemaVersion":
		err = json.Unmarshal(value, &d.SchemaVersion)
	case "mediaType":
		err = json.Unmarshal(value, &d.MediaType)
	case "config":
		d.Config = value
	case "layers":
		d.Layers = value
	case "manifests":
		d.Manifests = value
	case "fsLayers":
		d.FSLayers = value
	}
	if err != nil {
		return jsonError(err)
	}
	return nil
}

// A shape is what a document's keys make it.
type shape struct {
	name    string
	version int      // its schemaVersion
	types   []string // what it may be called, the default last
}

var (
	indexShape   = shape{"index", 2, []string{TypeDockerList, TypeOCIIndex}}
	imageShape   = shape{"image manifest", 2, []string{TypeDockerManifest, TypeOCIManifest}}
	schema1Shape = shape{"schema 1 manifest", 1, []string{TypeDockerSchema1, TypeDockerSigned1}}
)

func (d *document) shape() (shape, error) {
	index, image, schema1 := d.Manifests != nil, d.Config != nil || d.Layers != nil, d.FSLayers != nil
	switch {
	case index && image || index && schema1 || image && schema1:
		return shape{}, errors.New("both an index and an image")
	case index, d.has["manifests"] && !image && !schema1: // null is what Go writes for no manifests
		return indexShape, nil
	case d.Config != nil:
		return imageShape, nil
	case schema1:
		return schema1Shape, nil
	}
	return shape{}, errors.New("neither an index nor an image")
}

// mediaType returns what the document is, given the bare Content-Type it was sent
// with, which decides only what the document leaves open.
func (d *document) mediaType(sent string) (string, error) {
	shape, err := d.shape()
	if err != nil {
		return "", err
	}
	// A missing version is let pass: nothing hangs on it.
	if d.SchemaVersion != shape.version && d.SchemaVersion != 0 {
		return "", fmt.Errorf("%s of schema version %d", shape.name, d.SchemaVersion)
	}
	switch {
	case d.MediaType != "" && slices.Contains(shape.types, d.MediaType):
		return d.MediaType, nil
	case d.MediaType != "":
		return "", fmt.Errorf("%s that calls itself %s", shape.name, quoteShort(d.MediaType))
	case slices.Contains(shape.types, sent):
		return sent, nil
	case IsManifestType(sent):
		return "", fmt.Errorf("%s sent as %s", shape.name, quoteShort(sent))
	}
	return shape.types[len(shape.types)-1], nil
}

func (d *document) links() ([]pullchain.Descriptor, error) {
	var found []pullchain.Descriptor
	if d.Config != nil {
		var config pullchain.Descriptor
		if err := json.Unmarshal(d.Config, &config); err != nil {
			return nil, jsonError(err)
		}
		found = append(found, config)
	}
	for _, list := range []json.RawMessage{d.Layers, d.Manifests} {
		if list == nil {
			continue
		}
		var some []pullchain.Descriptor
		if err := json.Unmarshal(list, &some); err != nil {
			return nil, jsonError(err)
		}
		found = append(found, some...)
	}
	links := found[:0]
	for _, link := range found {
		if err := checkDescriptor(link); err != nil {
			return nil, err
		}
		if _, err := CheckDigest(link.Digest.String()); err == nil {
			links = append(links, shortPlatform(link))
		}
	}
	return links, nil
}

// shortPlatform takes a platform off d that has a longer text than any platform: what it
// says is for people alone, and no pull hangs on it.
func shortPlatform(d pullchain.Descriptor) pullchain.Descriptor {
	if p := d.Platform; max(len(p.OS), len(p.Architecture), len(p.Variant)) > maxPlatformText {
		d.Platform = pullchain.Platform{}
	}
	return d
}

// foreignDigest matches digests of algorithms that are not ours (OCI image-spec,
// descriptor.md, "Digests"): fit to be left out, where anything else is hostile.
var foreignDigest = regexp.MustCompile(`^[a-z0-9]+([+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$`)

func checkDescriptor(d pullchain.Descriptor) error {
	algorithm, _, _ := strings.Cut(d.Digest.String(), ":")
	ours := algorithm == "sha256" || algorithm == "sha512"
	if _, err := CheckDigest(d.Digest.String()); err != nil && (ours || !foreignDigest.MatchString(d.Digest.String())) {
		return err
	}
	if d.Size < 0 {
		return fmt.Errorf("descriptor of %s has size %d", quoteShort(d.Digest.String()), d.Size)
	}
	if len(d.MediaType) > maxMediaType || hasControl(d.MediaType) {
		return fmt.Errorf("descriptor of %s has a malformed media type", quoteShort(d.Digest.String()))
	}
	return nil
}
