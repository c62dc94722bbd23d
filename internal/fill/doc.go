// Package fill downloads a blob once for all that want it.
//
// A fill is one blob on its way in: one file, a map of the ranges that it has, and
// any number of readers at any offset. Workers bring the missing ranges, those
// that a reader waits for first, each through the registry's chain with a Range.
// So these are one mechanism: many clients share one download; a client's abort
// does not end it; a cold Range works; a stream that dies, stalls or lies goes on
// from another upstream at that byte; a slow connection is helped by others; a
// restart resumes what is on the disk (docs/architecture.md, "The fill").
//
// The bytes that upstreams send make up a copy. It is hashed along its contiguous
// prefix while it grows, and its end is held back from the readers until the
// digest is right, so that no reader ever holds a complete wrong blob. A copy that
// proves wrong is replaced by a new one, from other upstreams.
//
// The package knows nothing of what a repository may read, nor of tags: that is
// the cache's, above it. It stores in a [blobstore.Store], below it.
package fill
