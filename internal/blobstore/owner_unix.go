//go:build unix

package blobstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// owned refuses what belongs to another user, since that one could change what is in it at
// any time.
// Root may: it can anyhow, and volumes of containers are root's; and as root we work where
// one user alone may write, as "sudo" in a home does. Where a file system shows
// files of ours as another's, as network file systems do, what we make there tells.
func (r *rooted) owned(path string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	me, mode := os.Geteuid(), info.Mode().Perm()
	alone := mode&0o022 == 0 // no third user writes there
	if !ok || int(st.Uid) == me || st.Uid == 0 || me == 0 && alone || r.mapped(st.Uid) {
		return nil
	}
	return errPlanted{fmt.Sprintf("%s belongs to another user (uid %d, mode %04o), who could put anything there: "+
		"give it to the user that pullchain runs as (chown -R %d %s; chmod o-w %s), or set [cache] dir to another directory",
		path, st.Uid, mode, me, path, path)}
}

// mapped reports whether files that we make belong to that user as well, or cannot be made
// by any user.
func (r *rooted) mapped(uid uint32) bool {
	probe := filepath.Join(r.dir, tempPrefix+"owner")
	f, err := r.openFile(probe, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return errors.Is(err, syscall.EROFS)
	}
	defer r.remove(probe)
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == uid
}

// openToAll reports whether any user of the machine may write there.
func openToAll(info fs.FileInfo) bool { return info.Mode().Perm()&0o002 != 0 }
