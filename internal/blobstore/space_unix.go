//go:build linux || darwin || freebsd

package blobstore

import "syscall"

// diskSpace returns what the file system of dir has free for us, and in all.
func diskSpace(dir string) (free, total int64, ok bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil || st.Blocks == 0 {
		return 0, 0, false
	}
	block := int64(st.Bsize)
	return max(int64(st.Bavail), 0) * block, int64(st.Blocks) * block, true
}

// diskFiles returns how many files more the file system of dir can have, and in all. Some
// have no such limit (btrfs says 0 of 0).
func diskFiles(dir string) (free, total int64, ok bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil || st.Files == 0 {
		return 0, 0, false
	}
	return max(int64(st.Ffree), 0), int64(st.Files), true
}
