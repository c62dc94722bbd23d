package cache_test

import (
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
)

// FAULTS.md F34: content that a disk has spoilt is found without anybody asking for
// it, set aside, and told of; what is right stays, and is not a use.
func TestScrub(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m, good := r.up.image("good")
		_, bad := r.up.image("bad")
		r.do(byDigest(alpine, m))
		r.do(blob(alpine, good))
		r.do(blob(alpine, bad))
		synctest.Wait()
		time.Sleep(time.Minute)
		r.restart()
		flip(t, stored(t, r.dir, bad))
		before, _ := r.store.Stat(good)
		r.cache.Scrub()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if _, here := r.store.Stat(bad); here || r.store.Stats().Corrupt != 1 {
			t.Errorf("the spoilt one is here: %v; %d set aside", here, r.store.Stats().Corrupt)
		}
		for _, d := range []digest.Digest{m, good} {
			if info, here := r.store.Stat(d); !here || !info.Verified {
				t.Errorf("%s: here %v, %+v", d, here, info)
			}
		}
		if after, _ := r.store.Stat(good); !after.Used.Equal(before.Used) {
			t.Errorf("used at %v, and then at %v", before.Used, after.Used)
		}
		// A week later all is looked at again.
		flip(t, stored(t, r.dir, good))
		time.Sleep(6 * 24 * time.Hour)
		if _, here := r.store.Stat(good); !here {
			t.Error("looked at again within a week")
		}
		time.Sleep(2 * 24 * time.Hour)
		synctest.Wait()
		if _, here := r.store.Stat(good); here {
			t.Error("not looked at again")
		}
	})
}

// Nothing is read from the disk while somebody wants something.
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

// A day of requests in the middle of an object is not counted as work on it.
func TestScrubGoesOnAfterABusyTime(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m, _ := r.up.image("one")
		var layers []digest.Digest
		for i := range 2 {
			b := make([]byte, 40<<20)
			b[0] = byte(i)
			layers = append(layers, r.up.add("", b))
		}
		r.do(byDigest(alpine, m))
		for _, d := range layers {
			r.do(blob(alpine, d))
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		r.restart()
		r.do(byDigest(alpine, m))
		r.cache.Scrub()
		time.Sleep(20 * time.Second) // in the middle of one of them
		for range 2 * 3600 {
			r.do(byDigest(alpine, m))
			time.Sleep(time.Second)
		}
		time.Sleep(time.Hour)
		for _, d := range layers {
			if info, _ := r.store.Stat(d); !info.Verified {
				t.Errorf("%s: not looked at an hour after the last request", d)
			}
		}
	})
}
