//go:build unix

package blobstore

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
)

// A cache directory that another user has prepared, or could change, is refused, with the
// path and what to do.
func TestF58_PlantedDirectory(t *testing.T) {
	t.Parallel()
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	link := func(name string) func(t *testing.T, dir, elsewhere string) {
		return func(t *testing.T, dir, elsewhere string) {
			path := filepath.Join(dir, name)
			must(t, os.MkdirAll(filepath.Dir(path), 0o700))
			must(t, os.Symlink(elsewhere, path))
		}
	}
	of := func(uid, gid int, mode os.FileMode) func(t *testing.T, dir, elsewhere string) {
		return func(t *testing.T, dir, _ string) {
			if os.Geteuid() != 0 {
				t.Skip("takes root")
			}
			must(t, os.Chown(dir, uid, gid))
			must(t, os.Chmod(dir, mode))
		}
	}
	other := func(mode os.FileMode) func(t *testing.T, dir, elsewhere string) { return of(65533, 65532, mode) }
	for _, tt := range []struct {
		name  string
		plant func(t *testing.T, dir, elsewhere string)
		path  string // that the words name, below the directory
		words string // empty: it is used
	}{
		{"nothing", func(*testing.T, string, string) {}, "", ""},
		{"0777 of another user", other(0o777), "", "belongs to another user (uid 65533, mode 0777)"},
		{"of another user and a group", other(0o770), "", "belongs to another user"},
		{"of a user who writes alone, for root", other(0o755), "", ""},
		{"of a user with a group of its own, for root", of(65533, 65533, 0o775), "", ""},
		{"of such a user, and open to all", of(65533, 65533, 0o777), "", "belongs to another user"},
		{"of a user that cannot be named", of(65534, 65534, 0o700), "", ""},
		{"a folder of another user's", func(t *testing.T, dir, _ string) {
			if os.Geteuid() != 0 {
				t.Skip("takes root")
			}
			must(t, os.Mkdir(filepath.Join(dir, blobsDir), 0o700))
			must(t, os.Chown(filepath.Join(dir, blobsDir), 65533, 65533))
			must(t, os.Chmod(filepath.Join(dir, blobsDir), 0o777))
		}, blobsDir, "belongs to another user"},
		{"open to all, and ours", func(t *testing.T, dir, _ string) { must(t, os.Chmod(dir, 0o777)) }, "", ""},
		{"a linked lock", link(lockName), lockName, "should be a file and is a symbolic link"},
		{"a linked version", link(versionName), versionName, "should be a file and is a symbolic link"},
		{"linked blobs", link(blobsDir), blobsDir, "should be a folder and is a symbolic link"},
		{"linked partials", link(partialDir), partialDir, "should be a folder and is a symbolic link"},
		{"linked records", link(recordsDir), recordsDir, "should be a folder and is a symbolic link"},
		{"a linked kind of record", link(recordsDir + "/tag"), recordsDir + "/tag", "should be a folder and is a symbolic link"},
		{"linked blobs of an algorithm", link(blobsDir + "/sha256"), blobsDir + "/sha256", "should be a folder and is a symbolic link"},
		{"a linked shard", link(blobsDir + "/sha256/ab"), blobsDir + "/sha256/ab", "should be a folder and is a symbolic link"},
		{"a file for a folder", func(t *testing.T, dir, _ string) { must(t, os.WriteFile(filepath.Join(dir, partialDir), nil, 0o600)) }, partialDir, "is something else"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			dir, elsewhere := filepath.Join(top, "cache"), filepath.Join(top, "elsewhere")
			must(t, os.Mkdir(dir, 0o700))
			must(t, os.Mkdir(elsewhere, 0o700))
			tt.plant(t, dir, elsewhere)
			s, err := Open(Config{Dir: dir})
			if err == nil {
				defer s.Close()
			}
			if tt.words == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.words) || !strings.Contains(err.Error(), filepath.Join(dir, tt.path)) || !strings.Contains(err.Error(), "set [cache] dir") {
				t.Errorf("said %v", err)
			}
			if found, _ := os.ReadDir(elsewhere); len(found) != 0 {
				t.Errorf("something was written there: %v", found)
			}
		})
	}
}

// What is planted once the store is open is not followed either: nothing is read, written or
// removed beyond its directory.
func TestF58_PlantedLater(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	dir, elsewhere := filepath.Join(top, "cache"), filepath.Join(top, "elsewhere")
	s := newStore(t, Config{Dir: dir})
	<-s.scanned
	b, d := content(1, 1000)
	at, err := s.place(d)
	if err != nil {
		t.Fatal(err)
	}
	shard := filepath.Dir(at.blob)
	for _, folder := range []string{elsewhere, filepath.Dir(shard)} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for path, to := range map[string]string{shard: elsewhere, at.part: filepath.Join(elsewhere, "victim")} {
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(elsewhere, "victim"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(elsewhere, filepath.Base(at.blob)), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), d, b, Meta{}); err == nil {
		t.Error("it was put through the link")
	}
	if sp, err := s.Spool(t.Context(), d); err == nil {
		t.Error("a spool was opened through the link")
		_ = sp.Discard()
	}
	if found, err := os.ReadDir(elsewhere); err != nil || len(found) != 2 {
		t.Errorf("there is %v, %v", found, err)
	}
	if got, err := os.ReadFile(filepath.Join(elsewhere, "victim")); err != nil || string(got) != "precious" {
		t.Errorf("the victim is %q, %v", got, err)
	}
	if st := s.Stats(); st.Trouble != "" {
		t.Error(st.Trouble)
	}
	put(t, s, 2, 1000, Meta{})
}

// What the store has is not read through a link that takes the place of its folder, although
// the right bytes lie there; and once the folder is back they are read.
func TestF58_PlantedOverWhatIsStored(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	s := newStore(t, Config{Dir: filepath.Join(top, "cache")})
	<-s.scanned
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d := put(t, s, 1, 1000, Meta{})
	shard, elsewhere := filepath.Dir(s.blobPath(d)), filepath.Join(top, "elsewhere")
	must(os.Rename(shard, elsewhere))
	must(os.Symlink(elsewhere, shard))
	for what, open := range map[string]func(digest.Digest) (*Object, error){"Open": s.Open, "Peek": s.Peek} {
		if o, err := open(d); err == nil {
			t.Errorf("%s: it was read through the link", what)
			_ = o.Close()
		}
	}
	if found, err := os.ReadDir(elsewhere); err != nil || len(found) != 2 {
		t.Errorf("there is %v, %v", found, err)
	}
	must(os.Remove(shard))
	must(os.Rename(elsewhere, shard))
	b, _ := content(1, 1000)
	if !bytes.Equal(read(t, s, d), b) {
		t.Error("other bytes")
	}
}

// A directory that was removed while the store is open is made anew, and used.
func TestDirectoryIsMadeAnew(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	s := newStore(t, Config{Dir: dir})
	<-s.scanned
	put(t, s, 1, 1000, Meta{})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	d := put(t, s, 2, 1000, Meta{})
	if len(read(t, s, d)) != 1000 {
		t.Error("it cannot be read")
	}
	if _, err := os.Stat(s.blobPath(d)); err != nil {
		t.Error(err)
	}
}

// What makes a directory doubtful, and does not have it refused, is a line of the log with
// what to do.
func TestF58_DoubtfulDirectory(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		uid       int // -1: ours
		mode      os.FileMode
		why, done string
	}{
		{"ours alone", -1, 0o755, "", ""},
		{"open to all", -1, 0o777, "every user of this machine", "chmod o-w "},
		{"of a user that cannot be named", 65534, 0o700, "the owner of the cache directory cannot be told", "chown -R "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.uid >= 0 && os.Geteuid() != 0 {
				t.Skip("takes root")
			}
			dir := t.TempDir()
			if err := errors.Join(os.Chown(dir, tt.uid, -1), os.Chmod(dir, tt.mode)); err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			s, err := Open(Config{Dir: dir, Log: slog.New(slog.NewTextHandler(&text, nil))})
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			said := text.String()
			if tt.why == "" && strings.Contains(said, "ours alone") || !strings.Contains(said, tt.why) || !strings.Contains(said, tt.done) {
				t.Errorf("said %s", said)
			}
		})
	}
}

// Where network file systems show our files as another user's, a file that we make tells.
// That none can be made for want of room tells nothing; that we may not make one does.
func TestF58_FilesShownAsAnothers(t *testing.T) {
	t.Parallel()
	r := &rooted{dir: t.TempDir()}
	if err := r.enter(); err != nil {
		t.Fatal(err)
	}
	defer r.leave()
	if err := os.WriteFile(filepath.Join(r.dir, tempPrefix+"owner"), nil, 0o600); err != nil { // what a crash has left
		t.Fatal(err)
	}
	me := uint32(os.Geteuid())
	for range 2 {
		if !r.mapped(me) || r.mapped(me+1) {
			t.Error("files of ours are told wrongly")
		}
	}
	if left, err := os.ReadDir(r.dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
	for err, want := range map[error]bool{syscall.EROFS: true, syscall.ENOSPC: true, syscall.EDQUOT: true, syscall.EACCES: false, syscall.EPERM: false} {
		if unmakable(&os.PathError{Op: "open", Path: r.dir, Err: err}) != want {
			t.Errorf("%v: want %v", err, want)
		}
	}
}
