package cache

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
	"github.com/pullchain/pullchain/internal/wire"
)

// shelved is a cache over a store that has one manifest.
func shelved(t *testing.T) (*Cache, digest.Digest, []byte) {
	t.Helper()
	store, err := blobstore.Open(blobstore.Config{Dir: t.TempDir(), MaxSize: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	c := New(Options{Store: store})
	t.Cleanup(func() {
		_ = c.Close()
		_ = store.Close()
	})
	body := []byte(`{"schemaVersion":2}`)
	d := digest.FromBytes(body)
	if err := store.Put(t.Context(), d, body, blobstore.Meta{MediaType: wire.TypeOCIManifest, Public: true}); err != nil {
		t.Fatal(err)
	}
	return c, d, body
}

// TestEvictWhileItIsRead: what was being read into memory when it was evicted is
// not there afterwards, be it read to the end before or after.
func TestEvictWhileItIsRead(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		c, d, _ := shelved(t)
		m, err := c.manifests.read(d)
		if err != nil {
			t.Fatal(err)
		}
		if !late {
			c.manifests.remember(m)
		}
		if _, err := c.Evict(t.Context(), d.String()); err != nil {
			t.Fatal(err)
		}
		if late {
			c.manifests.remember(m)
		}
		if m := c.manifests.find(t.Context(), d); m != nil {
			t.Errorf("remembered late %v: it is still here", late)
		}
	}
}

// TestVerifyPutsBackNoPin: a manifest that is stored again from memory is pinned if
// it was when it proved wrong, and not if it was when it was read.
func TestVerifyPutsBackNoPin(t *testing.T) {
	t.Parallel()
	for _, pinned := range []bool{true, false} {
		c, d, _ := shelved(t)
		pin := func(on bool) {
			if err := c.store.Update(d, func(m *blobstore.Meta) { m.Pinned = on }); err != nil {
				t.Fatal(err)
			}
		}
		pin(!pinned)
		if c.manifests.find(t.Context(), d) == nil { // read into memory
			t.Fatal("it is not here")
		}
		pin(pinned)
		spoil(t, c.store, d)
		wrong := 0
		if err := c.Verify(t.Context(), func(f blobstore.Finding) {
			if f.Err != nil {
				wrong++
			}
		}); err != nil || wrong != 1 {
			t.Fatalf("%d wrong, %v", wrong, err)
		}
		if info, here := c.store.Stat(d); !here || info.Pinned != pinned {
			t.Errorf("here %v, pinned %v, want %v", here, info.Pinned, pinned)
		}
	}
}

// TestTagOfAnotherKeyIsNotInTheWay: a look at one tag does not wait for the disk
// that writes another.
func TestTagOfAnotherKeyIsNotInTheWay(t *testing.T) {
	t.Parallel()
	c, _, _ := shelved(t)
	key := func(name string) tagKey {
		return tagKey{fill.Repository{Registry: "docker.io", Name: "library/" + name}, "1", wire.AcceptAll}
	}
	busy := c.tags.recordOf(key("busy")) // its record is being written, to a disk that hangs
	busy.Lock()
	defer busy.Unlock()
	free := 0
	for i := range 100 {
		other := key("other" + string(rune('a'+i%26)) + string(rune('a'+i/26)))
		if c.tags.recordOf(other) == busy {
			continue
		}
		free++
		done := make(chan struct{})
		go func() { c.tags.find(other); close(done) }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s waits", other.image())
		}
	}
	if free < 50 {
		t.Errorf("only %d of 100 others do not share the lock", free)
	}
}

// spoil changes a byte of what is stored.
func spoil(t *testing.T, store *blobstore.Store, d digest.Digest) {
	t.Helper()
	o, err := store.Peek(d)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	content, err := os.ReadFile(o.File.Name())
	if err != nil {
		t.Fatal(err)
	}
	content[0] ^= 1
	if err := errors.Join(os.Chmod(o.File.Name(), 0o600), os.WriteFile(o.File.Name(), content, 0o600)); err != nil {
		t.Fatal(err)
	}
}
