package cache

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/wire"
)

// Manifests on their way to a slow disk are bounded: the request that brings one more
// stores its own, and all are stored in the end.
func TestManifestsOnTheirWayAreBounded(t *testing.T) {
	t.Parallel()
	c, _, _ := shelved(t)
	for range maxPutting { // as many as may be are under way, and the disk hangs
		c.manifests.putting <- struct{}{}
	}
	for i := range 3 {
		body := fmt.Appendf(nil, `{"schemaVersion":2,"n":%d}`, i)
		d := digest.FromBytes(body)
		m, err := newManifest(d, blobstore.Meta{MediaType: wire.TypeOCIManifest, Public: true}, body)
		if err != nil {
			t.Fatal(err)
		}
		if !c.manifests.keep(t.Context(), m) {
			t.Error("the manifest is said not to be kept")
		}
		if _, stored := c.store.Stat(d); !stored {
			t.Error("the manifest waits for others")
		}
	}
	if n := len(c.manifests.putting); n != maxPutting {
		t.Errorf("%d are said to be on their way, want %d", n, maxPutting)
	}
}
