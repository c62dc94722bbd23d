package cache

import "github.com/pullchain/pullchain/internal/blobstore"

// Scrub begins to look through the store in the background, until Close, while
// there are neither requests nor fills: see [blobstore.Store.Scrub]. What is wrong
// is made good as [Cache.Verify] does it.
func (c *Cache) Scrub() {
	c.life.spawn(func() {
		c.store.Scrub(c.life.ctx, blobstore.ScrubConfig{
			Activity: func() (uint64, bool) { return c.counts.total(), c.fills.Snapshot().Active > 0 },
			Report: func(f blobstore.Finding) {
				if f.Err != nil {
					c.manifests.mend(f.Digest)
				}
			},
		})
	})
}
