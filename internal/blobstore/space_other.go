//go:build !(linux || darwin || freebsd)

package blobstore

// diskSpace is not known here. A disk that is full is still met when it says so.
func diskSpace(string) (free, total int64, ok bool) { return 0, 0, false }

// diskFiles is not known here.
func diskFiles(string) (free, total int64, ok bool) { return 0, 0, false }
