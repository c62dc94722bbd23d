package blobstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain/internal/safefile"
)

// A rooted is a directory below which files are opened, made and removed, and never
// beyond: no link that leads out of it is followed, one that is planted later neither. Paths are
// those that the system has, and begin with dir.
type rooted struct {
	dir string
	at  atomic.Pointer[os.Root] // nil: it is not there yet

	fast beneath
}

// enter opens the directory, or what has taken its place.
func (r *rooted) enter() error {
	if root := r.at.Load(); root != nil {
		held, err := root.Stat(".")
		now, gone := os.Stat(r.dir)
		if err == nil && gone == nil && os.SameFile(held, now) {
			return nil
		}
	}
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return err
	}
	r.fast.enter(r.dir)
	if old := r.at.Swap(root); old != nil {
		_ = old.Close() // what is under way in it ends first
	}
	return nil
}

// leave lets go of the directory.
func (r *rooted) leave() {
	r.fast.leave()
	if root := r.at.Swap(nil); root != nil {
		_ = root.Close()
	}
}

// in does what is to be done with the file at path.
func (r *rooted) in(op, path string, do func(root *os.Root, name string) error) error {
	root := r.at.Load()
	if root == nil {
		return &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist}
	}
	return r.full(do(root, r.name(path)))
}

// name is path within the directory.
func (r *rooted) name(path string) string {
	name := strings.TrimPrefix(strings.TrimPrefix(path, r.dir), sep)
	if name == "" {
		return "."
	}
	return name
}

// full puts the whole path into an error.
func (r *rooted) full(err error) error {
	if e, ok := err.(*fs.PathError); ok {
		return &fs.PathError{Op: e.Op, Path: filepath.Join(r.dir, e.Path), Err: e.Err}
	}
	if e, ok := err.(*os.LinkError); ok {
		return &os.LinkError{Op: e.Op, Old: filepath.Join(r.dir, e.Old), New: filepath.Join(r.dir, e.New), Err: e.Err}
	}
	return err
}

// open opens a file for reading.
func (r *rooted) open(path string) (*os.File, error) {
	if f, done := r.fast.open(r.name(path), path); done {
		return f, nil
	}
	return r.openFile(path, os.O_RDONLY)
}

func (r *rooted) openFile(path string, flags int) (*os.File, error) {
	root := r.at.Load() // and not by in, which takes an allocation for each blob that is served
	if root == nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	f, err := root.OpenFile(r.name(path), flags, fileMode)
	if err != nil {
		return nil, r.full(err)
	}
	return f, nil
}

func (r *rooted) readFile(path string) (text []byte, err error) {
	err = r.in("open", path, func(root *os.Root, name string) (err error) { text, err = root.ReadFile(name); return err })
	return text, err
}

// readDir returns what is in a folder, sorted by name; what it could, if there is an error.
func (r *rooted) readDir(path string) (found []fs.DirEntry, err error) {
	f, err := r.open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	found, err = f.ReadDir(-1)
	slices.SortFunc(found, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return found, err
}

func (r *rooted) lstat(path string) (info fs.FileInfo, err error) {
	err = r.in("lstat", path, func(root *os.Root, name string) (err error) { info, err = root.Lstat(name); return err })
	return info, err
}

func (r *rooted) mkdir(path string) error {
	return r.in("mkdir", path, func(root *os.Root, name string) error { return root.Mkdir(name, dirMode) })
}

func (r *rooted) rename(from, to string) error {
	return r.in("rename", to, func(root *os.Root, name string) error { return root.Rename(r.name(from), name) })
}

func (r *rooted) remove(path string) error {
	return r.in("remove", path, func(root *os.Root, name string) error { return root.Remove(name) })
}

func (r *rooted) chtimes(path string, at, mt time.Time) error {
	return r.in("chtimes", path, func(root *os.Root, name string) error { return root.Chtimes(name, at, mt) })
}

// mkdirTop makes the directory itself and those above it, enters it, and looks whether it
// is ours. A new folder's name is synced.
func (r *rooted) mkdirTop() error {
	if err := mkdirAbove(r.dir); err != nil {
		return err
	}
	if err := r.enter(); err != nil {
		return err
	}
	return r.inspect()
}

func mkdirAbove(path string) error {
	err := os.Mkdir(path, dirMode)
	switch {
	case err == nil:
		return safefile.SyncDir(filepath.Dir(path))
	case errors.Is(err, fs.ErrExist):
		return nil
	case !errors.Is(err, fs.ErrNotExist) || filepath.Dir(path) == path:
		return err
	}
	if err := mkdirAbove(filepath.Dir(path)); err != nil {
		return err
	}
	return mkdirAbove(path)
}

// errPlanted is why a directory is refused that another user could have prepared.
type errPlanted struct{ why string }

func (e errPlanted) Error() string { return e.why }

// inspect refuses a directory, with what to do about it, that is not ours alone: one that
// another user owns, or with a link where a folder or the lock should be. What lies in the
// folders is looked at when it is opened.
func (r *rooted) inspect() error {
	top, err := os.Stat(r.dir) // the operator named it, and may have made it a link
	if err != nil {
		return err
	}
	if !top.IsDir() {
		return errPlanted{r.dir + " is no directory: remove it, or set [cache] dir"}
	}
	if err := r.owned(r.dir, top); err != nil {
		return err
	}
	for _, name := range []string{lockName, versionName} {
		info, err := r.lstat(filepath.Join(r.dir, name))
		if err == nil && !info.Mode().IsRegular() {
			return r.planted(filepath.Join(r.dir, name), info, "a file")
		}
	}
	folders := []string{blobsDir, partialDir, recordsDir, corruptDir}
	for _, a := range algorithms {
		folders = append(folders, filepath.Join(blobsDir, a.name))
	}
	for _, folder := range folders {
		path := filepath.Join(r.dir, folder)
		info, err := r.lstat(path)
		if err != nil {
			continue // it is made when it is needed
		}
		if !info.IsDir() {
			return r.planted(path, info, "a folder")
		}
		if err := r.owned(path, info); err != nil {
			return err
		}
		inside, _ := r.readDir(path)
		if folder == partialDir || folder == corruptDir {
			continue // of files alone
		}
		for _, f := range inside {
			if f.Type()&fs.ModeSymlink != 0 {
				return r.planted(filepath.Join(path, f.Name()), nil, "a folder")
			}
		}
	}
	return nil
}

// planted says what is at path instead of what should be.
func (r *rooted) planted(path string, info fs.FileInfo, should string) error {
	is := "a symbolic link"
	if info != nil && info.Mode()&fs.ModeSymlink == 0 {
		is = "something else"
	}
	return errPlanted{fmt.Sprintf("%s should be %s and is %s, which pullchain does not follow: remove it (rm %s), or set [cache] dir to another directory", path, should, is, path)}
}
