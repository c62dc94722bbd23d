package simnet

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/opencontainers/go-digest"
)

// A Layer describes a layer to generate. The same Layer always yields the
// same bytes.
type Layer struct {
	// Size is about how large the blob is, in bytes: one file of so many
	// incompressible bytes, plus some 2 KiB of tar and gzip around it.
	Size int64
	// Seed tells layers of one size apart.
	Seed uint64
	// Files are further files of the layer, path to content, mode 0755.
	Files map[string]string
	// Raw makes the blob exactly Size random bytes, no tar and no gzip: for
	// throughput. No client can unpack it.
	Raw bool
}

// BigLayer is a Raw layer of size bytes.
func BigLayer(size int64, seed uint64) Layer { return Layer{Size: size, Seed: seed, Raw: true} }

// layerBytes is a generated layer.
type layerBytes struct {
	blob   []byte
	digest digest.Digest
	diffID digest.Digest // of the tar inside
}

// random is the deterministic noise of a seed.
func random(size int64, salt string, seed uint64) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], seed)
	key := sha256.Sum256(append(b[:], salt...))
	out := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(out) // never fails
	return out
}

// generate makes the layer. The salt keeps layers of several platforms apart.
func (l Layer) generate(salt string) *layerBytes {
	noise := random(l.Size, salt, l.Seed)
	if l.Raw {
		d := digest.FromBytes(noise)
		return &layerBytes{blob: noise, digest: d, diffID: d}
	}
	tarball := l.tar(noise, salt)
	var blob bytes.Buffer
	blob.Grow(len(tarball) + len(tarball)/1000 + 64)
	// Stored, not deflated: noise does not shrink, and this is several times faster.
	gz, err := gzip.NewWriterLevel(&blob, gzip.NoCompression)
	must(err)
	_, err = gz.Write(tarball)
	must(err)
	must(gz.Close())
	return &layerBytes{blob: blob.Bytes(), digest: digest.FromBytes(blob.Bytes()), diffID: digest.FromBytes(tarball)}
}

// tar puts the noise and the files into an archive that is the same in every run:
// the files are sorted, and no header has a time.
func (l Layer) tar(noise []byte, salt string) []byte {
	var buf bytes.Buffer
	buf.Grow(len(noise) + 4096)
	w := tar.NewWriter(&buf)
	add := func(name string, content []byte) {
		must(w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Format: tar.FormatUSTAR}))
		_, err := w.Write(content)
		must(err)
	}
	name := fmt.Sprintf("data-%d-%d", l.Seed, l.Size)
	if salt != "" {
		name += "-" + digest.FromString(salt).Encoded()[:8]
	}
	add(name, noise)
	for _, path := range slices.Sorted(maps.Keys(l.Files)) {
		add(path, []byte(l.Files[path]))
	}
	must(w.Close())
	return buf.Bytes()
}

// must is for errors that writing to memory cannot have.
func must(err error) {
	if err != nil && err != io.EOF {
		panic(fmt.Sprintf("simnet: generate content: %v", err))
	}
}
