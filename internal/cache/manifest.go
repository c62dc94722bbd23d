package cache

import (
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
	"github.com/pullchain/pullchain/internal/wire"
)

// A manifest is one whose bytes have been hashed and are in memory. It is not
// changed once it is made.
type manifest struct {
	digest    digest.Digest
	mediaType string
	label     string // the upstream's, if it was Docker's name for OCI's kind or the other way round
	body      []byte
	links     []pullchain.Descriptor
	meta      blobstore.Meta // as it stood; what has changed since is in Cache.proofs
	touched   *atomic.Int64  // when the store was last told of a use, in Unix nanoseconds

	// sizedFor is the repository for which the sizes of links are known to
	// Cache.sizes: as a rule the only one that asks.
	sizedFor *atomic.Pointer[fill.Repository]
}

// weight is about what the manifest takes of the memory.
func (m *manifest) weight() uint32 {
	const fixed, link = 512, 256 // the struct and its entry; a Descriptor and its strings
	return uint32(fixed + len(m.body) + link*len(m.links))
}

// response returns m as the answer to a GET, or to a HEAD.
func (m *manifest) response(head bool) pullchain.Response {
	resp := pullchain.Response{
		Status:    http.StatusOK,
		MediaType: m.mediaType,
		Digest:    m.digest,
		Size:      int64(len(m.body)),
		Body:      pullchain.NoBody,
		Private:   !m.meta.Public,
		Cache:     pullchain.CacheHit,
	}
	if head {
		return resp
	}
	resp.Body, resp.Links = pullchain.BytesBody(m.body), m.links
	if m.label != "" {
		resp.Header = http.Header{"Content-Type": {m.label}}
	}
	return resp
}

// newManifest returns the manifest d with these bytes, if they are its bytes.
func newManifest(d digest.Digest, meta blobstore.Meta, body []byte) (*manifest, error) {
	if got := d.Algorithm().FromBytes(body); got != d {
		return nil, fmt.Errorf("the bytes of %s hash to %s", d, got)
	}
	// Bytes that have the right digest are served, whatever they look like: only
	// what they point at is not known then.
	_, links, _ := wire.ParseManifest(meta.MediaType, body)
	return &manifest{digest: d, mediaType: meta.MediaType, body: body, links: links, meta: meta, touched: &atomic.Int64{}, sizedFor: &atomic.Pointer[fill.Repository]{}}, nil
}
