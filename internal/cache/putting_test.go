package cache

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/wire"
)

// Manifests on their way to a slow disk are bounded, no request waits for them, and all
// are stored in the end.
func TestManifestsOnTheirWayAreBounded(t *testing.T) {
	t.Parallel()
	c, _, _ := shelved(t)
	q := &c.manifests.putting
	q.running = maxPutting // as many as may be are under way, and the disk hangs
	var last digest.Digest
	for i := range maxQueued + 1 {
		body := fmt.Appendf(nil, `{"schemaVersion":2,"n":%d}`, i)
		m, err := newManifest(digest.FromBytes(body), blobstore.Meta{MediaType: wire.TypeOCIManifest, Public: true}, body)
		if err != nil {
			t.Fatal(err)
		}
		if kept := c.manifests.keep(m); kept != (i < maxQueued) {
			t.Errorf("manifest %d: likely to be kept: %t", i, kept)
		}
		if i == 1 {
			last = m.digest
			if _, stored := c.store.Stat(last); stored {
				t.Error("a request has waited for the disk")
			}
		}
	}
	q.waiting = q.waiting[:2]
	q.running = 1
	c.manifests.putWaiting() // the disk is back
	if _, stored := c.store.Stat(last); !stored {
		t.Error("a manifest that waited is not stored")
	}
	if q.running != 0 || len(q.waiting) != 0 {
		t.Errorf("%d goroutines, %d manifests wait", q.running, len(q.waiting))
	}
}
