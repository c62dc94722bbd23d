//go:build !(linux || darwin || freebsd)

package blobstore

import "os"

// lockFile opens the lock file. There is no lock that ends with the process
// here that needs no more than the standard library, so that two processes are
// not kept apart.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
}

// unlockFile closes the lock file.
func unlockFile(f *os.File) error { return f.Close() }

// syncDir does nothing: a folder cannot be synced here.
func syncDir(string) error { return nil }
