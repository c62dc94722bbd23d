//go:build e2e && linux

package blobstore

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
)

// smallDisk mounts a tmpfs of 8 MiB, for which it takes root.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("something is still open: %v", err)
		}
	})
	return dir
}

// hog fills the disk but for so many bytes.
func hog(t *testing.T, dir string, leave int64) {
	t.Helper()
	free, _, _ := diskSpace(dir)
	if err := os.WriteFile(filepath.Join(dir, "hog"), make([]byte, free-leave), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A disk that really is full: what is old gives way, and when nothing can, the
// caller learns it, what is there is still served, and it ends when there is room
// again (docs/faults.md F33).
func TestRealFullDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, realFullDisk)
}

func realFullDisk(t *testing.T) {
	dir := smallDisk(t)
	s, err := Open(Config{Dir: filepath.Join(dir, "cache"), MaxSize: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var last digest.Digest
	for i := range 30 { // 15 MB through a disk of 8
		last = put(t, s, uint64(i), 500_000, Meta{})
	}
	st := s.Stats()
	if st.Evictions == 0 || st.Objects < 10 || st.Free < keepFree(8<<20) || st.Trouble != "" {
		t.Errorf("%+v", st)
	}
	b, d := content(100, 3_000_000)
	sp := newSpool(t, s, d)
	if err := sp.SetSize(int64(len(b))); err != nil {
		t.Fatal(err)
	}
	fill(t, sp, b, 0, 1_000_000, "")

	hog(t, dir, 200_000) // another program takes all that remains
	for from := int64(1_000_000); from < int64(len(b)); from += 100_000 {
		fill(t, sp, b, from, from+100_000, "") // evicts
	}
	if err := sp.Commit(int64(len(b)), Meta{}); err != nil || !bytes.Equal(read(t, s, d), b) {
		t.Fatalf("Commit: %v", err)
	}
	if has(s, last) && s.Stats().Evictions == st.Evictions {
		t.Error("nothing was evicted")
	}

	o, err := s.Open(d) // now all that is large is in use
	if err != nil {
		t.Fatal(err)
	}
	big, bigDigest := content(101, 4_000_000)
	sp = newSpool(t, s, bigDigest)
	wantErr(t, sp.SetSize(int64(len(big))), ErrFull)
	var failed error
	for from := int64(0); failed == nil && from < int64(len(big)); from += 100_000 {
		_, failed = sp.WriteAt(big[from:from+100_000], from)
	}
	wantErr(t, failed, ErrFull)
	st = s.Stats()
	if !st.Full || !strings.Contains(st.Trouble, "is full") {
		t.Errorf("%+v", st)
	}
	t.Log(st.Trouble)
	if !bytes.Equal(read(t, s, d), b) {
		t.Error("what is there is not served")
	}
	if err := sp.Discard(); err != nil {
		t.Error(err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(dir, "hog")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(retryAfter)
	put(t, s, 102, 1000, Meta{})
	if st := s.Stats(); st.Full || st.Trouble != "" {
		t.Errorf("%+v", st)
	}
}

// The fill of a disk by raw writes, without a size that is known before.
func TestRealFullDiskOfUnknownSize(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	s, err := Open(Config{Dir: filepath.Join(dir, "cache"), MaxSize: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	old := put(t, s, 1, 2_000_000, Meta{})
	_, d := content(2, 1)
	sp := newSpool(t, s, d)
	defer sp.Discard()
	piece := make([]byte, 100_000)
	n := 0
	for ; err == nil && n < 100; n++ {
		_, err = sp.WriteAt(piece, int64(n)*100_000)
	}
	wantErr(t, err, ErrFull)
	if has(s, old) || n < 70 {
		t.Errorf("%d pieces went in; the old object there: %v", n, has(s, old))
	}
}

// A disk that really has no inodes left: what is old gives way for it, and where others have
// taken them, people are told of inodes (docs/faults.md F50).
func TestF50_RealDiskWithoutInodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, realDiskWithoutInodes)
}

func realDiskWithoutInodes(t *testing.T) {
	dir := smallDisk(t)
	if err := syscall.Mount("", dir, "tmpfs", syscall.MS_REMOUNT, "size=200m,nr_inodes=200"); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{Dir: filepath.Join(dir, "cache"), MaxSize: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 150 { // each is a blob, its Meta and most often a folder
		put(t, s, uint64(i), 1000, Meta{})
	}
	if st := s.Stats(); st.Evictions == 0 || st.Trouble != "" {
		t.Errorf("%+v", st)
	}
	for i := 0; ; i++ { // now others take them all, and all that is here is in use
		if err := os.WriteFile(filepath.Join(dir, "hog"+strconv.Itoa(i)), nil, 0o600); err != nil {
			break
		}
	}
	for info := range s.All(t.Context()) {
		o, err := s.Open(info.Digest)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
	}
	b, d := content(1000, 1000)
	wantErr(t, s.Put(t.Context(), d, b, Meta{}), ErrFull)
	st := s.Stats()
	if !st.Full || !st.NoInodes || !strings.Contains(st.Trouble, "no inodes left") || strings.Contains(st.Trouble, "MiB") {
		t.Errorf("%+v", st)
	}
	t.Log(st.Trouble)
	for i := range 20 {
		_ = os.Remove(filepath.Join(dir, "hog"+strconv.Itoa(i)))
	}
	time.Sleep(retryAfter)
	if err := s.Put(t.Context(), d, b, Meta{}); err != nil || s.Stats().Trouble != "" {
		t.Errorf("%v, %+v", err, s.Stats())
	}
}

// A disk that is mounted read-only still serves.
func TestRealReadOnlyDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, realReadOnlyDisk)
}

func realReadOnlyDisk(t *testing.T) {
	dir := smallDisk(t)
	cache := filepath.Join(dir, "cache")
	s, err := Open(Config{Dir: cache})
	if err != nil {
		t.Fatal(err)
	}
	d := put(t, s, 1, 1000, Meta{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	remount := func(flags uintptr) {
		if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(syscall.MS_RDONLY)
	if s, err = Open(Config{Dir: cache}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(read(t, s, d)) != 1000 {
		t.Error("not served")
	}
	b, d2 := content(2, 1000)
	wantErr(t, s.Put(t.Context(), d2, b, Meta{}), ErrReadOnly)
	if st := s.Stats(); !st.ReadOnly || !strings.Contains(st.Trouble, "read-only file system") {
		t.Errorf("%+v", st)
	}
	if _, err := Open(Config{Dir: cache}); err == nil {
		t.Error("a read-only directory is not locked")
	}
	t.Log(s.Stats().Trouble)
	remount(0)
	time.Sleep(retryAfter)
	if err := s.Put(t.Context(), d2, b, Meta{}); err != nil || s.Stats().Trouble != "" {
		t.Errorf("%v, %+v", err, s.Stats())
	}
}
