package cache

import (
	"bytes"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
	"github.com/pullchain/pullchain/internal/wire"
)

// TestHit reads the store's own file.
func TestHit(t *testing.T) {
	t.Parallel()
	store, err := blobstore.Open(blobstore.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	content := bytes.Repeat([]byte("0123456789"), 30<<10)
	d := digest.FromBytes(content)
	if err := store.Put(t.Context(), d, content, blobstore.Meta{Public: true}); err != nil {
		t.Fatal(err)
	}
	open := func() *blobstore.Object {
		o, err := store.Open(d)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	for _, want := range []pullchain.Range{{}, {From: 7}, {From: 100, To: 200 << 10}, {From: -5}} {
		resp, err := hit(open(), want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		abs, _ := wire.ResolveRange(want, int64(len(content)))
		if err != nil || !bytes.Equal(got, content[abs.From:abs.To]) || resp.Cache != pullchain.CacheHit {
			t.Errorf("%v: %d bytes, %s, %v", want, len(got), resp.Cache, err)
		}
		resp.Body.Close()
	}
	_, err = hit(open(), pullchain.Range{From: 1 << 20})
	if e := fill.AsError(err); e.Status != 416 || e.Size != int64(len(content)) {
		t.Errorf("error %v", err)
	}
}
