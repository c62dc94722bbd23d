package blobstore

import (
	"sync"

	"github.com/opencontainers/go-digest"
)

// The holdings are what a store has: the files, and the index of them. Its methods keep
// the two in step, and make room. They are the part of a store that knows neither
// when it is closed nor what is done in the background.
//
// A digest's name is locked before mu, and never two names at once. Names share 64
// mutexes, because one for each digest would have to be made and forgotten; that two
// digests now and then wait for each other's rename costs nothing that shows.
type holdings struct {
	tree
	health health
	names  [64]sync.Mutex // by digest: its holder may change the files of that digest

	scanned chan struct{} // closed when the directory has been read

	mu      sync.Mutex // guards what is below; held for arithmetic only, never for I/O
	index   index
	corrupt uint64 // objects that were quarantined
}

// name returns the mutex of d's files.
func (h *holdings) name(d digest.Digest) *sync.Mutex {
	var sum uint
	for i := range min(len(d), 12) { // "sha256:" and some of the hex
		sum = sum*31 + uint(d[i])
	}
	return &h.names[sum%uint(len(h.names))]
}
