//go:build unix

package blobstore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// unknownUser is the owner that the kernel shows for each user that it cannot name here: of
// an NFS export that squashes root, of a user namespace (user_namespaces(7), overflowuid).
// It says nothing of whose a file is.
const unknownUser = 65534

// owned refuses what belongs to another user, since that one could change what is in it at
// any time.
// Root may: it can anyhow, and volumes of containers are root's; and as root we work where
// one user alone may write, as "sudo" in a home does. Where a file system shows
// files of ours as another's, as network file systems do, what we make there tells.
func (r *rooted) owned(path string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	me := os.Geteuid()
	if !ok || int(st.Uid) == me || st.Uid == 0 || st.Uid == unknownUser || me == 0 && alone(info.Mode(), st) || r.mapped(st.Uid) {
		return nil
	}
	return errPlanted{fmt.Sprintf("%s belongs to another user (uid %d, mode %04o), who could put anything there: "+
		"give it to the user that pullchain runs as (chown -R %d %s; chmod o-w %s), or set [cache] dir to another directory",
		path, st.Uid, info.Mode().Perm(), me, path, path)}
}

// alone reports whether no third user writes there. A group with the number of the user is
// that user's own, for which an umask of 002 lets it write.
func alone(mode fs.FileMode, st *syscall.Stat_t) bool {
	return mode&0o002 == 0 && (mode&0o020 == 0 || st.Gid == st.Uid)
}

// mapped reports whether files that we make belong to that user as well, or cannot be made
// now by any user. The name is a new one each time, and what is left of one is swept.
func (r *rooted) mapped(uid uint32) bool {
	probe := filepath.Join(r.dir, tempPrefix+"owner-"+rand.Text())
	f, err := r.openFile(probe, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return unmakable(err)
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

// unmakable reports whether no user can make a file now, so that it does not tell whose the
// directory is. That we may not make one does: it is another user's, with what that one has
// put there, such as records of what tags mean.
func unmakable(err error) bool { return errors.Is(err, syscall.EROFS) || isFull(err) }

// doubt says why another user may be able to write there, and what to do; nothing if none is.
func doubt(path string, info fs.FileInfo) (why, fix string) {
	if info.Mode().Perm()&0o002 != 0 {
		return "every user of this machine can write into the cache directory", "chmod o-w " + path
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid == unknownUser && os.Geteuid() != unknownUser {
		return "the owner of the cache directory cannot be told", fmt.Sprintf("chown -R %d %s, where its file system is mounted with all users", os.Geteuid(), path)
	}
	return "", ""
}
