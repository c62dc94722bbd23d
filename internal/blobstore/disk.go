package blobstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pullchain/pullchain/internal/safefile"
)

// A disk is how the store writes. It is the one place where tests make writes
// fail the way disks do.
type disk struct {
	*rooted
	space func(dir string) (free, total int64, ok bool) // of the file system
	files func(dir string) (free, total int64, ok bool) // how many there can be; nil: no limit
	fault func(op, path string) error                   // nil: nothing fails; asked before each op
	syncs chan struct{}                                 // has an element for each sync under way
}

// maxSyncs is how many syncs of content are under way at once: enough for a disk
// to put them together. Each keeps a thread, so a hundred layers and manifests
// that are through at once must not have one each.
const maxSyncs = 8

// check asks for a fault.
func (d disk) check(op, path string) error {
	if d.fault == nil {
		return nil
	}
	return d.fault(op, path)
}

// create opens a file for reading and writing, making it and its folders if they
// are not there.
func (d disk) create(path string, flags int) (*os.File, error) {
	if err := d.check("create", path); err != nil {
		return nil, err
	}
	f, err := d.openFile(path, os.O_RDWR|os.O_CREATE|flags)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := d.mkdir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return d.openFile(path, os.O_RDWR|os.O_CREATE|flags)
}

// mkdir makes a folder and those above it. A new folder's name is synced, or the
// files in it would be lost with it in a power cut.
func (d disk) mkdir(path string) error {
	if err := d.check("mkdir", path); err != nil {
		return err
	}
	if path == d.dir {
		return d.mkdirTop()
	}
	err := d.rooted.mkdir(path)
	switch {
	case err == nil:
		return safefile.SyncDir(filepath.Dir(path))
	case errors.Is(err, fs.ErrExist):
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := d.mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	return d.rooted.mkdir(path)
}

// writeAt writes p to f at off.
func (d disk) writeAt(f *os.File, p []byte, off int64) (int, error) {
	if err := d.check("write", f.Name()); err != nil {
		return 0, err
	}
	return f.WriteAt(p, off)
}

// turn waits until a sync may begin, and returns what says that it has ended.
func (d disk) turn() (done func()) {
	d.syncs <- struct{}{}
	return func() { <-d.syncs }
}

// sync makes f's bytes durable, when it is its turn.
func (d disk) sync(f *os.File) error {
	defer d.turn()()
	if err := d.check("sync", f.Name()); err != nil {
		return err
	}
	return f.Sync()
}

// rename moves a file within the store.
func (d disk) rename(from, to string) error {
	if err := d.check("rename", to); err != nil {
		return err
	}
	err := d.rooted.rename(from, to)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.mkdir(filepath.Dir(to)); err != nil {
		return err
	}
	return d.rooted.rename(from, to)
}

// syncDir makes the names in a folder durable, when it is its turn.
func (d disk) syncDir(path string) error {
	defer d.turn()()
	if err := d.check("sync", path); err != nil {
		return err
	}
	return safefile.SyncDir(path)
}

// remove unlinks a file; one that is not there is no error.
func (d disk) remove(path string) error {
	if err := d.check("remove", path); err != nil {
		return err
	}
	if err := d.rooted.remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// replace writes content under a temporary name and gives it its name, so that
// no reader sees half of it. It survives a kill; a power cut only if durable.
func (t *tree) replace(path string, content []byte, durable bool) error {
	temp := t.temp(path)
	if err := t.writeTemp(temp, content, durable); err != nil {
		return err
	}
	if err := t.disk.rename(temp, path); err != nil {
		_ = t.disk.rooted.remove(temp)
		return err
	}
	if durable {
		return t.disk.syncDir(filepath.Dir(path))
	}
	return nil
}

// writeTemp writes a new file, or leaves nothing.
func (t *tree) writeTemp(path string, content []byte, durable bool) error {
	f, err := t.disk.create(path, os.O_EXCL)
	if err != nil {
		return err
	}
	_, err = t.disk.writeAt(f, content, 0)
	if err == nil && durable {
		err = t.disk.sync(f)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		_ = t.disk.rooted.remove(path)
	}
	return err
}

// isFull reports whether a write failed for want of room.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// isReadOnly reports whether a write failed because nothing may be written.
func isReadOnly(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}
