//go:build !(linux || darwin || freebsd)

package safefile

import "os"

// Lock opens the lock file at path. There is no lock that ends with the process here that
// needs no more than the standard library, so that two processes are not kept apart.
func Lock(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
}

// Unlock closes the lock file.
func Unlock(f *os.File) error { return f.Close() }

// SyncDir does nothing: a directory cannot be synced here.
func SyncDir(string) error { return nil }
