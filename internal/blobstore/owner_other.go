//go:build !unix

package blobstore

import "io/fs"

func (r *rooted) owned(string, fs.FileInfo) error { return nil }

func openToAll(fs.FileInfo) bool { return false }
