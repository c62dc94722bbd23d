package safefile_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/pullchain/pullchain/internal/safefile"
)

func TestReplace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "it.json")
	for _, content := range []string{"long and first", "second", ""} {
		if err := safefile.Replace(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("there is %q, %v; want %q", got, err, content)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("there are %v, %v", files, err)
	}
}

// What cannot be replaced stays as it is, and leaves nothing beside it.
func TestReplaceThatFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "it") // a directory: no file takes its name
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := safefile.Replace(path, []byte("x")); err == nil {
		t.Error("it was replaced")
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("there are %v, %v", files, err)
	}
	if err := safefile.Replace(filepath.Join(dir, "none", "it"), nil); err == nil {
		t.Error("there is no such directory")
	}
}

// Clean takes away what is unfinished of one file, and of no other.
func TestClean(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a [directory]")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, stays := range map[string]bool{"it": true, "it.123.tmp": false, "it.spoilt": true, "other.9.tmp": true, "itself.9.tmp": true} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		safefile.Clean(filepath.Join(dir, "it"))
		if _, err := os.Stat(path); (err == nil) != stays {
			t.Errorf("%s: stays %t, want %t", name, err == nil, stays)
		}
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	switch runtime.GOOS {
	case "linux", "darwin", "freebsd":
	default:
		t.Skip("there are no locks here")
	}
	path := filepath.Join(t.TempDir(), "lock")
	first, err := safefile.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if f, err := safefile.Lock(path); !errors.Is(err, safefile.ErrLocked) {
		t.Errorf("the second has %v, %v", f, err)
	}
	if err := safefile.Unlock(first); err != nil {
		t.Fatal(err)
	}
	again, err := safefile.Lock(path)
	if err != nil {
		t.Fatalf("after it was let go: %v", err)
	}
	if err := safefile.Unlock(again); err != nil {
		t.Error(err)
	}
	if _, err := safefile.Lock(filepath.Join(t.TempDir(), "none", "lock")); err == nil || errors.Is(err, safefile.ErrLocked) {
		t.Errorf("in no directory: %v", err)
	}
}
