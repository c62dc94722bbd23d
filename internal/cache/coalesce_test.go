package cache_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

// A request that has nothing to fall back on does not wait for one that has: that one
// makes no forced try, and its failure would be the other's too.
func TestJoinerKeepsItsForcedTry(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		before, _ := r.up.image("one")
		after, _ := r.up.image("two")
		r.up.tag(alpine+":3", before)
		r.do(byTag(alpine, "3"))
		r.up.tag(alpine+":3", after)
		time.Sleep(time.Hour)
		r.up.set(func() {
			r.up.wait = time.Second
			r.up.fail = func(req pullchain.Request) error {
				if req.Digest == after && req.Options.NoForce {
					return errDown // every gate is closed, and the tag has a stale meaning
				}
				return nil
			}
		})
		var wg sync.WaitGroup
		wg.Go(func() { r.want(r.do(byTag(alpine, "3")), stale, before) })
		time.Sleep(1500 * time.Millisecond) // the HEAD has told, and the new manifest is being asked for
		wg.Go(func() { r.want(r.do(byDigest(alpine, after)), miss, after) })
		wg.Wait()
		synctest.Wait()
	})
}

// The other way round is as good: what makes a forced try if it has to is waited for by
// all, and a counted pull is spared.
func TestOneWithAFallbackJoinsOneWithout(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		before, _ := r.up.image("one")
		after, _ := r.up.image("two")
		r.up.tag(alpine+":3", before)
		r.do(byTag(alpine, "3"))
		r.up.tag(alpine+":3", after)
		time.Sleep(time.Hour)
		r.asked(getManifest)
		r.up.set(func() { r.up.wait = time.Second })
		var wg sync.WaitGroup
		wg.Go(func() { r.want(r.do(byTag(alpine, "3")), miss, after) })
		time.Sleep(500 * time.Millisecond) // the tag's HEAD is under way
		wg.Go(func() { r.want(r.do(byDigest(alpine, after)), miss, after) })
		wg.Wait()
		synctest.Wait()
		r.asked(headManifest, getManifest)
	})
}
