//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// The media types of the OCI image spec that the images here use.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// blob is content by its digest, as a descriptor names it.
type blob struct {
	mediaType string
	digest    digest.Digest
	bytes     []byte
}

func newBlob(mediaType string, b []byte) blob {
	return blob{mediaType: mediaType, digest: digest.FromBytes(b), bytes: b}
}

// descriptor is the JSON form of a blob inside a manifest or an index.
type descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int           `json:"size"`
	Platform  *platform     `json:"platform,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

func (b blob) descriptor() descriptor {
	return descriptor{MediaType: b.mediaType, Digest: b.digest, Size: len(b.bytes)}
}

// image is a two-platform image of several layers with its tag: what one
// scenario pulls. Every scenario has an image of its own, so that no client
// can answer from what it pulled before.
type image struct {
	repository string // library/app
	tag        string
	index      blob
	manifest   blob   // of this machine's platform
	blobs      []blob // of this machine's platform: the config, then the layers
	diffs      []digest.Digest
	others     []blob // what only the other platform needs; its manifest is last
}

// layers is the number and size of an image's layers in bytes before
// compression: one in a single read, one of several windows, and one long
// enough to be cut in the middle of its stream.
var layers = []int{10 << 10, 700 << 10, 6 << 20}

// newImage makes the image of a tag. The same tag gives the same bytes.
func newImage(t *testing.T, tag string) *image {
	t.Helper()
	return newImageOf(t, tag, layers)
}

// newImageOf is newImage with layers of other sizes.
func newImageOf(t *testing.T, tag string, sizes []int) *image {
	t.Helper()
	img := &image{repository: "library/app", tag: tag}
	img.manifest, img.blobs, img.diffs = newPlatform(t, tag, runtime.GOARCH, sizes)
	other := "s390x"
	manifest, blobs, _ := newPlatform(t, tag, other, []int{layers[0]})
	img.others = append(blobs, manifest)

	index := struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
	}{SchemaVersion: 2, MediaType: typeIndex}
	for _, m := range []struct {
		arch string
		blob blob
	}{{other, manifest}, {runtime.GOARCH, img.manifest}} {
		d := m.blob.descriptor()
		d.Platform = &platform{Architecture: m.arch, OS: "linux"}
		index.Manifests = append(index.Manifests, d)
	}
	img.index = newBlob(typeIndex, marshal(t, index))
	return img
}

// name is what a person types to pull the image, without the registry.
func (img *image) name() string {
	if strings.Contains(img.tag, ":") {
		return img.repository + "@" + img.tag
	}
	return img.repository + ":" + img.tag
}

// byDigest is the same image, pulled by its digest instead of its tag.
func (img *image) byDigest() *image {
	named := *img
	named.tag = img.index.digest.String()
	return &named
}

// newPlatform makes the manifest of one platform, its config and layers, and
// the digests of the uncompressed layers.
func newPlatform(t *testing.T, tag, arch string, sizes []int) (manifest blob, blobs []blob, diffs []digest.Digest) {
	t.Helper()
	var layerBlobs []blob
	for i, size := range sizes {
		layer, diff := newLayer(t, fmt.Sprintf("%s-%s-%d", tag, arch, i), size)
		layerBlobs = append(layerBlobs, layer)
		diffs = append(diffs, diff)
	}
	manifest, blobs = newManifest(t, tag, arch, layerBlobs, diffs)
	return manifest, blobs, diffs
}

// newManifest makes the manifest of one platform and its config over layers.
func newManifest(t *testing.T, tag, arch string, layerBlobs []blob, diffs []digest.Digest) (manifest blob, blobs []blob) {
	t.Helper()
	config := newBlob(typeConfig, marshal(t, map[string]any{
		"architecture": arch,
		"os":           "linux",
		"config":       map[string]any{"Labels": map[string]string{"tag": tag}},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": diffs},
	}))
	body := struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}{SchemaVersion: 2, MediaType: typeManifest, Config: config.descriptor()}
	for _, l := range layerBlobs {
		body.Layers = append(body.Layers, l.descriptor())
	}
	return newBlob(typeManifest, marshal(t, body)), append([]blob{config}, layerBlobs...)
}

// randomBytes is content that nothing compresses. The same name gives the same bytes.
func randomBytes(t *testing.T, name string, size int) []byte {
	t.Helper()
	payload := make([]byte, size)
	random := rand.NewChaCha8([32]byte([]byte(digest.FromString(name).Encoded())[:32]))
	if _, err := random.Read(payload); err != nil {
		t.Fatal(err)
	}
	return payload
}

// newLayer makes a gzipped tar with one text and one incompressible file.
func newLayer(t *testing.T, name string, size int) (layer blob, diff digest.Digest) {
	t.Helper()
	payload := randomBytes(t, name, size)
	level := gzip.DefaultCompression
	if size >= 8<<20 {
		level = gzip.NoCompression // large ones would only cost time
	}
	return packLayer(t, level, []file{{name + "/about.txt", []byte("layer " + name + "\n")}, {name + "/payload.bin", payload}})
}

// A file is one of a layer.
type file struct {
	name string
	data []byte
}

// packLayer makes a gzipped tar of files.
func packLayer(t *testing.T, level int, files []file) (layer blob, diff digest.Digest) {
	t.Helper()
	var plain, packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, level)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(io.MultiWriter(&plain, w))
	for _, f := range files {
		head := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data)), Format: tar.FormatPAX}
		if err := tw.WriteHeader(head); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return newBlob(typeLayer, packed.Bytes()), digest.FromBytes(plain.Bytes())
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
