package fill

import (
	"context"
	"errors"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/blobstore"
)

// A backing is the disk side of a fill: a spool, or an object of the store whose
// bytes have not been hashed yet.
type backing struct {
	spool  spool             // nil for an object
	object *blobstore.Object // nil for a spool
}

// A spool is what a fill needs of a *blobstore.Spool.
type spool interface {
	Size() int64
	Extents() []blobstore.Extent
	SetSize(size int64) error
	WriteAt(p []byte, off int64) (int, error)
	Record(e blobstore.Extent) error
	ReadAt(p []byte, off int64) (int, error)
	Reader() (*os.File, error)
	Reset() error
	Commit(size int64, meta blobstore.Meta) error
	Suspend() error
	Discard() error
}

// openBacking returns the stored object, or else a spool for it. The object may
// have been stored since the caller looked.
func openBacking(ctx context.Context, store *blobstore.Store, d digest.Digest) (backing, error) {
	object, err := store.Open(d)
	if err == nil {
		return backing{object: object}, nil
	}
	spool, err := store.Spool(ctx, d)
	if err != nil {
		return backing{}, err
	}
	return backing{spool: spool}, nil
}

// ReadAt reads what is there.
func (b backing) ReadAt(p []byte, off int64) (int, error) {
	if b.object != nil {
		return b.object.File.ReadAt(p, off)
	}
	return b.spool.ReadAt(p, off)
}

// A sourceFile is a file of the blob for one reader, with its own offset.
type sourceFile struct {
	*os.File
	close func() error
}

// reader returns a file of the bytes for a reader of its own. A spool that has
// ended meanwhile has become an object.
func (b backing) reader(store *blobstore.Store, d digest.Digest) (sourceFile, error) {
	var err error
	if b.spool != nil {
		var file *os.File
		if file, err = b.spool.Reader(); err == nil {
			return sourceFile{file, file.Close}, nil
		}
	}
	object, openErr := store.Open(d)
	if openErr != nil {
		return sourceFile{}, errors.Join(err, openErr)
	}
	return sourceFile{object.File, object.Close}, nil
}
