package blobstore

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
)

// scrub scrubs s until the test ends.
func scrub(t *testing.T, s *Store, cfg ScrubConfig) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Scrub(ctx, cfg)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// reopened returns a store that has read what s has stored, and not hashed it.
func reopened(t *testing.T, s *Store) *Store {
	t.Helper()
	_ = s.Close()
	again := newStore(t, Config{Dir: s.dir})
	<-again.scanned
	return again
}

// flip changes the first byte of an object's file.
func flip(t *testing.T, s *Store, d digest.Digest) {
	t.Helper()
	path := s.blobPath(d)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[0] ^= 1
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, content, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// docs/faults.md F34: content that a disk has spoilt is found without a request for it,
// quarantined, and told of; what is right stays, and is not a use.
func TestScrub(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, Config{Dir: t.TempDir()})
		good, other, bad := put(t, s, 1, 1000, Meta{}), put(t, s, 2, 1000, Meta{}), put(t, s, 3, 1000, Meta{})
		time.Sleep(time.Minute)
		s = reopened(t, s)
		flip(t, s, bad)
		before, _ := s.Stat(good)
		found := map[digest.Digest]error{}
		scrub(t, s, ScrubConfig{Report: func(f Finding) { found[f.Digest] = f.Err }})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if has(s, bad) || s.Stats().Corrupt != 1 {
			t.Errorf("the spoilt one is here: %v; %d quarantined", has(s, bad), s.Stats().Corrupt)
		}
		for _, d := range []digest.Digest{good, other} {
			if info, here := s.Stat(d); !here || !info.Verified {
				t.Errorf("%s: here %v, %+v", d, here, info)
			}
		}
		if len(found) != 3 || found[good] != nil || found[other] != nil || found[bad] != errWrongBytes {
			t.Errorf("told of %v", found)
		}
		if after, _ := s.Stat(good); !after.Used.Equal(before.Used) {
			t.Errorf("used at %v, and then at %v", before.Used, after.Used)
		}
		// A week later all is looked at again.
		flip(t, s, good)
		time.Sleep(6 * 24 * time.Hour)
		if !has(s, good) {
			t.Error("looked at again within a week")
		}
		time.Sleep(2 * 24 * time.Hour)
		synctest.Wait()
		if has(s, good) {
			t.Error("not looked at again")
		}
	})
}

// A day of requests in the middle of an object is not counted as work on it.
func TestScrubGoesOnAfterABusyTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, Config{Dir: t.TempDir()})
		layers := []digest.Digest{put(t, s, 1, 40<<20, Meta{}), put(t, s, 2, 40<<20, Meta{})}
		time.Sleep(time.Minute)
		s = reopened(t, s)
		var requests atomic.Uint64
		scrub(t, s, ScrubConfig{Activity: func() (uint64, bool) { return requests.Load(), false }})
		time.Sleep(20 * time.Second) // in the middle of one of them
		for range 2 * 3600 {
			requests.Add(1)
			time.Sleep(time.Second)
		}
		for _, d := range layers {
			if info, _ := s.Stat(d); info.Verified {
				t.Errorf("%s: looked at in the middle of requests", d)
			}
		}
		time.Sleep(time.Hour)
		for _, d := range layers {
			if info, _ := s.Stat(d); !info.Verified {
				t.Errorf("%s: not looked at an hour after the last request", d)
			}
		}
	})
}

// Work that goes on counts as much as requests do.
func TestScrubWaitsForWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, Config{Dir: t.TempDir()})
		d := put(t, s, 1, 1000, Meta{})
		s = reopened(t, s)
		var working atomic.Bool
		working.Store(true)
		scrub(t, s, ScrubConfig{Activity: func() (uint64, bool) { return 0, working.Load() }})
		time.Sleep(time.Hour)
		if info, _ := s.Stat(d); info.Verified {
			t.Error("looked at in the middle of work")
		}
		working.Store(false)
		time.Sleep(time.Minute)
		if info, _ := s.Stat(d); !info.Verified {
			t.Error("not looked at afterwards")
		}
	})
}
