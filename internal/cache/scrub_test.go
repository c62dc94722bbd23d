package cache_test

import (
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// Nothing is read from the disk while there are requests.
func TestScrubWaitsItsTurn(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m, layer := r.up.image("one")
		r.do(byDigest(alpine, m))
		r.do(blob(alpine, layer))
		synctest.Wait()
		r.restart()
		r.cache.Scrub()
		for range 300 {
			r.do(byDigest(alpine, m))
			time.Sleep(time.Second)
		}
		if info, _ := r.store.Stat(layer); info.Verified {
			t.Error("looked at in the middle of requests")
		}
		time.Sleep(5 * time.Minute)
		if info, _ := r.store.Stat(layer); !info.Verified {
			t.Error("not looked at afterwards")
		}
	})
}

// docs/faults.md F34: content that a disk has spoilt is found without a request for it,
// and taken out. A manifest that is still in memory is stored again.
func TestScrub(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m, layer := r.up.image("one")
		r.do(byDigest(alpine, m))
		r.do(blob(alpine, layer))
		synctest.Wait()
		time.Sleep(time.Minute)
		r.restart()
		r.do(byDigest(alpine, m)) // from the store into memory
		flip(t, stored(t, r.dir, m))
		flip(t, stored(t, r.dir, layer))
		r.cache.Scrub()
		time.Sleep(8 * 24 * time.Hour) // the manifest was right just now
		synctest.Wait()
		if n := r.store.Stats().Corrupt; n != 2 {
			t.Errorf("%d were found to be wrong, want 2", n)
		}
		if _, here := r.store.Stat(layer); here {
			t.Error("the spoilt blob is here")
		}
		if content, err := os.ReadFile(stored(t, r.dir, m)); err != nil || len(content) == 0 {
			t.Errorf("the manifest is not stored again: %v", err)
		}
		if info, here := r.store.Stat(m); !here || !info.Verified {
			t.Errorf("the manifest: here %v, %+v", here, info)
		}
	})
}

// flip changes the first byte of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[0] ^= 1
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, content, 0o600)); err != nil {
		t.Fatal(err)
	}
}
