package cache

import (
	"github.com/maypok86/otter/v2"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/fill"
)

// sizes are what manifests say of the length of their parts, each for the
// repository that it was served in: what one repository's manifests claim must not
// be held against another's blobs. An answer that says something else is wrong
// (docs/faults.md F19). They are bounded, and safe for concurrent use.
type sizes struct {
	known *otter.Cache[proofKey, int64]
}

const sizesKept = 16 << 10

func newSizes() sizes {
	return sizes{otter.Must(&otter.Options[proofKey, int64]{MaximumSize: sizesKept})}
}

func (s sizes) learn(by fill.Repository, links []pullchain.Descriptor) {
	for _, link := range links {
		if link.Size > 0 {
			s.known.Set(proofKey{by, link.Digest}, link.Size)
		}
	}
}

// have reports whether the sizes of links seem to be known still: they are learnt
// together, and so the first stands for all.
func (s sizes) have(by fill.Repository, links []pullchain.Descriptor) bool {
	return len(links) == 0 || links[0].Size <= 0 || s.of(by, links[0].Digest) > 0
}

// of returns the size of d in bytes, or 0 if no manifest has told.
func (s sizes) of(by fill.Repository, d digest.Digest) int64 {
	size, _ := s.known.GetIfPresent(proofKey{by, d})
	return size
}
