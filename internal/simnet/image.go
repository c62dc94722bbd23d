package simnet

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// The media types of the content that simnet makes.
const (
	TypeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	TypeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	TypeOCIConfig      = "application/vnd.oci.image.config.v1+json"
	TypeOCILayer       = "application/vnd.oci.image.layer.v1.tar+gzip"
	TypeOCIEmpty       = "application/vnd.oci.empty.v1+json"
	TypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	TypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	TypeDockerConfig   = "application/vnd.docker.container.image.v1+json"
	TypeDockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// An Image describes an image to generate. The same Image always yields the
// same bytes, and so the same digests.
type Image struct {
	Repo string   // as in "library/alpine"
	Tags []string // none means that only digests lead to it

	Layers []Layer // none means one of 1 KiB
	// Platforms, as in "linux/arm64", makes it an index with one manifest, of
	// other layers, per platform. None means a lone linux/amd64 manifest.
	Platforms []string
	Docker    bool // Docker's media types; else OCI's
	// Labels go into the config: the cheap way to a second version.
	Labels map[string]string

	// ArtifactType makes it an OCI artifact (layers and an empty config) about
	// Subject, which the referrers API then lists. Platforms do not apply.
	ArtifactType string
	Subject      digest.Digest
}

// A Descriptor is the OCI descriptor of a blob or manifest.
type Descriptor struct {
	MediaType    string        `json:"mediaType"`
	Digest       digest.Digest `json:"digest"`
	Size         int64         `json:"size"`
	ArtifactType string        `json:"artifactType,omitempty"`
	Platform     *Platform     `json:"platform,omitempty"`
}

// A Platform is the platform of a descriptor.
type Platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// Content is a generated image: all its bytes.
type Content struct {
	Image
	Root      Descriptor               // what the tags point to
	Index     []Descriptor             // of an index: one per platform, in the order of Platforms
	Manifests map[digest.Digest][]byte // index and manifests
	Types     map[digest.Digest]string // their media types
	Configs   []Descriptor             // one per manifest
	LayerList [][]Descriptor           // one list per manifest
	Blobs     map[digest.Digest][]byte // configs and layers; do not modify
}

// Manifest returns the bytes that the tags point to.
func (c *Content) Manifest() []byte { return c.Manifests[c.Root.Digest] }

// Layer returns layer i of the first (or only) platform, with its bytes.
func (c *Content) Layer(i int) (Descriptor, []byte) {
	d := c.LayerList[0][i]
	return d, c.Blobs[d.Digest]
}

// Path returns the registry path of the image's manifest: by its first tag,
// or by digest if it has none.
func (c *Content) Path() string {
	if len(c.Tags) == 0 {
		return c.ManifestPath(c.Root.Digest.String())
	}
	return c.ManifestPath(c.Tags[0])
}

// ManifestPath returns the registry path of a manifest of this repository.
func (c *Content) ManifestPath(ref string) string { return "/v2/" + c.Repo + "/manifests/" + ref }

// BlobPath returns the registry path of a blob of this repository.
func (c *Content) BlobPath(d digest.Digest) string { return "/v2/" + c.Repo + "/blobs/" + d.String() }

// The documents, with the fields in the order that real tools write them.
type (
	manifestDoc struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		ArtifactType  string       `json:"artifactType,omitempty"`
		Config        Descriptor   `json:"config"`
		Layers        []Descriptor `json:"layers"`
		Subject       *Descriptor  `json:"subject,omitempty"`
	}
	indexDoc struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []Descriptor `json:"manifests"`
	}
	configDoc struct {
		Architecture string         `json:"architecture"`
		OS           string         `json:"os"`
		Created      string         `json:"created"`
		Config       containerDoc   `json:"config"`
		RootFS       rootFS         `json:"rootfs"`
		History      []historyEntry `json:"history"`
	}
	containerDoc struct {
		Cmd    []string          `json:"Cmd"`
		Env    []string          `json:"Env"`
		Labels map[string]string `json:"Labels,omitempty"`
	}
	rootFS struct {
		Type    string          `json:"type"`
		DiffIDs []digest.Digest `json:"diff_ids"`
	}
	historyEntry struct {
		Created   string `json:"created"`
		CreatedBy string `json:"created_by"`
	}
)

const createdAt = "2024-01-01T00:00:00Z"

// Build generates the image without a Net. [Net.Build] shares the layers of
// one Net, which matters when they are large.
func (img Image) Build() *Content { return img.build(Layer.generate) }

// Build generates the image; layers that this Net has made before are shared.
func (n *Net) Build(img Image) *Content {
	return img.build(func(l Layer, salt string) *layerBytes {
		key := fmt.Sprintf("%v %s", l, salt) // maps print in the order of their keys
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.layers[key] == nil {
			n.layers[key] = l.generate(salt)
		}
		return n.layers[key]
	})
}

// build makes manifests, configs and blobs. An artifact has no platforms: its
// config is empty (OCI image-spec, "Guidelines for Artifact Usage").
func (img Image) build(gen func(Layer, string) *layerBytes) *Content {
	if len(img.Layers) == 0 {
		img.Layers = []Layer{{Size: 1024}}
	}
	c := &Content{
		Image:     img,
		Manifests: map[digest.Digest][]byte{},
		Types:     map[digest.Digest]string{},
		Blobs:     map[digest.Digest][]byte{},
	}
	if len(img.Platforms) == 0 || img.ArtifactType != "" {
		c.Root = c.addImage(gen, "linux/amd64", "")
		return c
	}
	for _, p := range img.Platforms {
		d := c.addImage(gen, p, p)
		os, arch, _ := strings.Cut(p, "/")
		d.Platform = &Platform{OS: os, Architecture: arch}
		c.Index = append(c.Index, d)
	}
	kind := img.pick(TypeDockerList, TypeOCIIndex)
	c.Root = c.addManifest(kind, indexDoc{SchemaVersion: 2, MediaType: kind, Manifests: c.Index})
	return c
}

// pick chooses between Docker's and OCI's word for a thing.
func (img Image) pick(docker, oci string) string {
	if img.Docker {
		return docker
	}
	return oci
}

// addImage makes the manifest of one platform with all that it names.
func (c *Content) addImage(gen func(Layer, string) *layerBytes, platform, salt string) Descriptor {
	os, arch, _ := strings.Cut(platform, "/")
	cfg := configDoc{
		Architecture: arch, OS: os, Created: createdAt,
		Config: containerDoc{Cmd: []string{"/bin/true"}, Env: []string{"PATH=/usr/bin:/bin"}, Labels: c.Labels},
		RootFS: rootFS{Type: "layers"},
	}
	var layers []Descriptor
	for i, l := range c.Layers {
		b := gen(l, salt)
		c.Blobs[b.digest] = b.blob
		layers = append(layers, Descriptor{MediaType: c.pick(TypeDockerLayer, TypeOCILayer), Digest: b.digest, Size: int64(len(b.blob))})
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, b.diffID)
		cfg.History = append(cfg.History, historyEntry{Created: createdAt, CreatedBy: fmt.Sprintf("simnet layer %d", i)})
	}
	c.LayerList = append(c.LayerList, layers)
	kind := c.pick(TypeDockerManifest, TypeOCIManifest)
	doc := manifestDoc{SchemaVersion: 2, MediaType: kind, Layers: layers}
	if c.ArtifactType != "" {
		doc.ArtifactType = c.ArtifactType
		doc.Config = c.addBlob(TypeOCIEmpty, []byte("{}"))
	} else {
		doc.Config = c.addBlob(c.pick(TypeDockerConfig, TypeOCIConfig), encode(cfg))
	}
	if c.Subject != "" {
		doc.Subject = &Descriptor{MediaType: TypeOCIManifest, Digest: c.Subject}
	}
	c.Configs = append(c.Configs, doc.Config)
	d := c.addManifest(kind, doc)
	d.ArtifactType = c.ArtifactType
	return d
}

func (c *Content) addBlob(mediaType string, b []byte) Descriptor {
	d := digest.FromBytes(b)
	c.Blobs[d] = b
	return Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

// addManifest enters a manifest under the digest of its bytes.
func (c *Content) addManifest(mediaType string, doc any) Descriptor {
	b := encode(doc)
	d := digest.FromBytes(b)
	c.Manifests[d], c.Types[d] = b, mediaType
	return Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

func encode(doc any) []byte {
	b, err := json.Marshal(doc)
	must(err)
	return b
}
