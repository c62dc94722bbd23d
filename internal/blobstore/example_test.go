package blobstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/blobstore"
)

// A blob comes in through a Spool, in pieces and in any order. The caller verifies
// it, and Commit gives it its name. From then on it is there to be read.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	store, err := blobstore.Open(blobstore.Config{Dir: dir, MaxSize: 1 << 30})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()

	blob := []byte("what a layer holds")
	want := digest.FromBytes(blob)
	size := int64(len(blob))

	spool, err := store.Spool(ctx, want)
	if err != nil { // ErrFull, ErrReadOnly: serve it without keeping it
		fmt.Println(err)
		return
	}
	err = spool.SetSize(size) // makes room
	for _, piece := range []blobstore.Extent{{From: 7, To: size}, {From: 0, To: 7}} {
		if err == nil {
			_, err = spool.WriteAt(blob[piece.From:piece.To], piece.From)
		}
		if err == nil {
			err = spool.Record(piece) // a restart goes on from here
		}
	}
	got, _ := want.Algorithm().FromReader(io.NewSectionReader(spool, 0, size))
	if err != nil || got != want {
		fmt.Println("wrong:", err, spool.Discard())
		return
	}
	if err := spool.Commit(size, blobstore.Meta{Public: true}); err != nil {
		fmt.Println(err)
		return
	}

	object, err := store.Open(want) // is not evicted before its Close
	if err != nil {
		fmt.Println(err)
		return
	}
	defer object.Close()
	_, _ = io.Copy(os.Stdout, object.File)
	fmt.Println()
	fmt.Println(object.Size, "bytes, public:", object.Public)
	// Output:
	// what a layer holds
	// 18 bytes, public: true
}

// A blob that is not through is suspended. The next Spool of its digest, in this
// process or a later one, begins with what was recorded.
func ExampleStore_Spool() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "")
	defer os.RemoveAll(dir)
	store, err := blobstore.Open(blobstore.Config{Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	d := digest.FromString("a long layer")

	first, err := store.Spool(ctx, d)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = first.WriteAt([]byte("a long"), 0)
	err = errors.Join(err, first.Record(blobstore.Extent{From: 0, To: 6, Source: "mirror"}), first.Suspend())
	fmt.Println("suspended:", err == nil)

	second, err := store.Spool(ctx, d)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer second.Discard()
	fmt.Println(second.Extents())
	// Output:
	// suspended: true
	// [{0 6 mirror}]
}
