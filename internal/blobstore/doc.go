// Package blobstore keeps content by its digest in files, for as long as there is
// room.
//
// The file tree is the index: what is whole has its digest for a name, and got
// that name only after it was written, verified by the caller and synced, so that
// neither a kill nor a power cut leaves a wrong blob (docs/faults.md F35). Beside each
// blob stands a small JSON file, its [Meta]. A blob on its way in is a [Spool], a
// sparse file with a journal of what it has; after a restart it goes on from
// there. The index in memory is built from the tree at each start, in the
// background, and until it is whole a lookup asks the tree.
//
// When the total grows past the limit, what was not finished goes first, then what
// was used once gives way before what is used again (S3-FIFO, Yang et al., SOSP
// 2023), and nothing that is pinned or being read goes. A disk that is full, or
// may not be written, is no end: what is there is still served, the caller learns
// that nothing more can be kept, and [Stats] tells people why (docs/faults.md F33).
//
// It knows nothing of registries and never fetches.
package blobstore
