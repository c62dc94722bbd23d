// Package safefile is how the program keeps files that outlive it: a directory is one
// process's at a time, and a file is replaced as a whole or not at all. It knows nothing of
// what is in them.
package safefile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// ErrLocked is the error of Lock when another process has the lock.
var ErrLocked = errors.New("another process has the lock")

// fileMode is that of every file here: no other user reads it.
const fileMode = 0o600

// unfinished ends the names of files that Replace has not finished.
const unfinished = ".tmp"

// Replace makes content the content of the file at path, in a directory that is there. A
// reader finds the old content or the new one, never a part, also after a power cut. No
// other user may read the file.
func Replace(path string, content []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*"+unfinished) // with fileMode
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // else Clean does
		return err
	}
	return SyncDir(dir) // the name lasts too
}

// Clean removes what a Replace of the file at path has left that was killed. It is for a
// caller that has the directory locked: what another process is at must stay.
func Clean(path string) {
	dir, base := filepath.Split(path)
	entries, _ := os.ReadDir(filepath.Clean(dir)) // none is read: there is nothing to remove
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), base+".") && strings.HasSuffix(e.Name(), unfinished) {
			_ = os.Remove(filepath.Join(dir, e.Name())) // it is in no reader's way
		}
	}
}
