package blobstore

import "github.com/pullchain/pullchain/internal/amount"

// A Size is a number of bytes, as people write it.
type Size = amount.Size
