package blobstore

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestSyncsTakeTurns stores many blobs and manifests on a disk whose syncs take a
// second: only so many work at once, and all of them are stored.
func TestSyncsTakeTurns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		var syncing, most atomic.Int64
		s, err := open(Config{Dir: dir}, disk{space: roomy, fault: func(op, _ string) error {
			if op == "sync" && slow.Load() {
				n := syncing.Add(1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				time.Sleep(time.Second)
				syncing.Add(-1)
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		slow.Store(true)
		const blobs = 3 * maxSyncs
		var wg sync.WaitGroup
		for i := range uint64(blobs) {
			b, d := content(i, 1000)
			sp := newSpool(t, s, d)
			fill(t, sp, b, 0, 1000, "a")
			wg.Go(func() {
				if err := sp.Commit(1000, Meta{Public: true}); err != nil {
					t.Error(err)
				}
			})
		}
		for i := range uint64(blobs) {
			b, d := content(blobs+i, 1000)
			wg.Go(func() {
				if err := s.Put(t.Context(), d, b, Meta{Public: true}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := most.Load(); n != maxSyncs {
			t.Errorf("%d syncs at once, want %d", n, maxSyncs)
		}
		for i := range uint64(2 * blobs) {
			if _, d := content(i, 1000); len(read(t, s, d)) != 1000 {
				t.Errorf("%s is not stored", d)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
