//go:build linux || darwin || freebsd

package safefile

import (
	"errors"
	"os"
	"syscall"
)

// Lock takes the lock at path for this process: ErrLocked when another has it. The kernel
// lets go of it when the process ends, however it ends; the caller does by Unlock. In a
// directory that cannot be written an existing lock file is locked all the same.
func Lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		readable, e := os.Open(path)
		if e != nil {
			return nil, err
		}
		f = readable
	}
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case err == nil:
		return f, nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		_ = f.Close()
		return nil, ErrLocked
	default:
		// Some network file systems have no locks. That is no reason not to serve.
		return f, nil
	}
}

// Unlock lets go of a lock. Closing alone would not do while a process is being started:
// until it has begun, it has the file open as well.
func Unlock(f *os.File) error {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) // fails where there are no locks
	return f.Close()
}

// SyncDir makes the names in a directory durable.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	// Some file systems cannot sync a directory and say EINVAL.
	if err := dir.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}
