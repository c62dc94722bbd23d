package daemon_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/simnet"
)

// F33 A disk that is too small for what is pulled: every byte flows, people are
// told once, and what is there already is still served.
func TestF33_FullDisk(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a small disk takes the right to mount one: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	k := newKept(t, func(c *rigConfig) { c.Cache = cacheIn(disk) + "\nmax_size = \"1GiB\"" })
	k.manifest()
	k.blob(0)
	small := k.image
	k.image = k.a.Push(big)
	path, content := k.layer()
	for range 3 {
		k.manifest()
		k.wantBytes(path, content)
	}
	// One that finds out may have been sent a second time by then, and every five
	// seconds one finds out.
	if n := k.net.Ledger().Bytes(simnet.Filter{Class: simnet.Blobs}); n > int64(6*len(content)+1<<16) {
		t.Errorf("%d bytes were fetched for three pulls of %d", n, len(content))
	}
	s := k.Daemon.Snapshot()
	if !s.Cache.Full || !strings.Contains(s.Cache.Trouble, "is full") || s.Summary.Level != admin.LevelDegraded {
		t.Errorf("people are told %+v, %+v", s.Cache.Stats, s.Summary)
	}
	if _, table := k.admin("/"); !strings.Contains(table, "! The cache keeps nothing new: the disk of "+disk+" is full") {
		t.Errorf("the table:\n%s", table)
	}
	if n := strings.Count(k.log.String(), "the cache keeps nothing new"); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
	k.wantNoMore("what is there", func() {
		d, bytes := small.Layer(0)
		k.wantBytes(small.BlobPath(d.Digest), bytes)
	})
	if left, err := os.ReadDir(disk + "/partial"); err != nil || len(left) > 0 {
		t.Errorf("files of blobs that cannot be kept: %v, %v", left, err)
	}

	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	k.eventually("room has been made, and it is kept", func() bool {
		k.wantBytes(path, content)
		return k.Daemon.Snapshot().Cache.Trouble == ""
	})
	k.eventually("the layer is in the cache", func() bool {
		got := k.wantBytes(path, content)
		return strings.HasPrefix(got.Header.Get("Cache-Status"), "pullchain; hit")
	})
}
