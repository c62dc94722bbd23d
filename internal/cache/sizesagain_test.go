package cache

import (
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
	"github.com/pullchain/pullchain/internal/wire"
)

// A manifest in memory tells its sizes again when those of so many others have come
// since that its own are forgotten, be it that the clock was set back by a day since its
// last use.
func TestSizesAreLearntAgain(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]int64{"long ago": 0, "tomorrow": time.Now().Add(24 * time.Hour).UnixNano()} {
		t.Run(name, func(t *testing.T) { sizesAreLearntAgain(t, last) })
	}
}

// sizesAreLearntAgain uses a manifest whose last use was at last, in Unix nanoseconds.
func sizesAreLearntAgain(t *testing.T, last int64) {
	c, _, _ := shelved(t)
	by := fill.Repository{Registry: "docker.io", Name: "library/alpine"}
	layer := digest.FromString("a layer")
	body := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"digest":%q,"size":7},"layers":[{"digest":%q,"size":7}]}`, wire.TypeOCIManifest, layer, layer)
	m, err := newManifest(digest.FromBytes(body), blobstore.Meta{MediaType: wire.TypeOCIManifest}, body)
	if err != nil {
		t.Fatal(err)
	}
	ms := c.manifests
	ms.answer(by, m, false)
	for i := range 4 * sizesKept {
		ms.sizes.learn(by, []pullchain.Descriptor{{Digest: digest.FromString(fmt.Sprint(i)), Size: 1}})
	}
	ms.sizes.known.CleanUp()
	if ms.sizes.of(by, layer) != 0 {
		ms.sizes.known.Invalidate(proofKey{by, layer})
	}
	m.touched.Store(last)
	ms.touch(m)
	ms.answer(by, m, false)
	if got := ms.sizes.of(by, layer); got != 7 {
		t.Errorf("a size of %d, want 7", got)
	}
}
