package cache_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/wire"
)

func TestManifestByDigestIsForEver(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		r.want(r.do(byDigest(alpine, d)), miss, d)
		r.asked(getManifest)
		time.Sleep(365 * 24 * time.Hour)
		a := r.do(byDigest(alpine, d))
		r.want(a, hit, d)
		if a.age != 0 || len(a.resp.Attempts) != 0 || a.resp.Quota != nil {
			t.Errorf("a hit of %+v", a.resp)
		}
		a = r.do(head(byDigest(alpine, d)))
		r.want(a, hit, d)
		if a.resp.Size != int64(len(r.up.content[d].body)) || a.resp.MediaType != wire.TypeOCIManifest || a.resp.Links != nil {
			t.Errorf("a HEAD of %+v", a.resp)
		}
		r.restart()
		a = r.do(byDigest(alpine, d))
		r.want(a, hit, d)
		if len(a.resp.Links) != 2 || a.resp.MediaType != wire.TypeOCIManifest {
			t.Errorf("after a restart: %+v", a.resp)
		}
		r.asked()
	})
}

func TestManifestHeadByDigestStaysHead(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		a := r.do(head(byDigest(alpine, d)))
		r.want(a, bypass, d)
		if a.resp.Size != int64(len(r.up.content[d].body)) {
			t.Errorf("size %d", a.resp.Size)
		}
		r.asked(headManifest)
	})
}

func TestManifestIsFetchedOnce(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		r.up.wait = time.Second
		var wg sync.WaitGroup
		results := make([]pullchain.CacheResult, 50)
		for i := range results {
			wg.Go(func() { results[i] = r.do(byDigest(alpine, d)).result })
		}
		wg.Wait()
		r.asked(getManifest)
		n := map[pullchain.CacheResult]int{}
		for _, result := range results {
			n[result]++
		}
		if n[miss] != 1 || n[pullchain.CacheCoalesced] != 49 {
			t.Errorf("results %v", n)
		}
	})
}

// Who waits for the same gets the same error, as it is.
func TestManifestErrorIsPassedOn(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.up.wait = time.Second
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if a := r.do(byDigest(alpine, digest.FromString("nothing"))); a.err != notFound {
					t.Errorf("error %v", a.err)
				}
			})
		}
		wg.Wait()
		r.asked(getManifest)
	})
}

func TestWrongManifestIsNotKept(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		right := r.up.content[d]
		r.up.set(func() { r.up.content[d] = document{right.mediaType, []byte(`{"schemaVersion":2,"config":{}}`)} })
		if a := r.do(byDigest(alpine, d)); a.reason != pullchain.Corrupt {
			t.Errorf("%s %v", a.result, a.err)
		}
		r.up.set(func() { r.up.content[d] = right })
		r.want(r.do(byDigest(alpine, d)), miss, d)
	})
}

// docs/faults.md F34: every manifest is hashed when it is first read from the store.
func TestCorruptStoredManifestIsRefetched(t *testing.T) {
	for _, damage := range []struct {
		name string
		do   func([]byte) []byte
	}{
		{"a flipped bit", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }},
		{"cut short", func(b []byte) []byte { return b[:len(b)/2] }},
	} {
		t.Run(damage.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				d, _ := r.up.image("one")
				r.up.tag("library/alpine:3.20", d)
				r.do(byTag(alpine, "3.20"))
				r.asked(getManifest)
				synctest.Wait()
				r.close()
				path := stored(t, r.dir, d)
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(path, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, damage.do(content), 0o600); err != nil {
					t.Fatal(err)
				}
				r.open()
				r.want(r.do(byTag(alpine, "3.20")), miss, d) // within the same request
				r.asked(getManifest)
				synctest.Wait()
				if n := r.cache.Snapshot().VerifyFailures; n != 1 {
					t.Errorf("%d failures counted", n)
				}
				r.restart()
				r.want(r.do(byDigest(alpine, d)), hit, d)
				r.asked()
			})
		})
	}
}

// stored returns the file that holds d.
func stored(t *testing.T, dir string, d digest.Digest) string {
	t.Helper()
	var found string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if filepath.Base(path) == d.Encoded() {
			found = path
		}
		return err
	})
	if err != nil || found == "" {
		t.Fatalf("no file of %s: %v", d, err)
	}
	return found
}

// docs/faults.md F33: what cannot be stored is served all the same.
func TestManifestIsServedThoughItCannotBeStored(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.close()
		store, err := blobstore.Open(blobstore.Config{Dir: r.dir, MaxSize: 1})
		if err != nil {
			t.Fatal(err)
		}
		r.store, r.cache = store, cache.New(cache.Options{Store: store})
		r.hub = r.cache.Chain(cache.Registry{Name: "docker.io", Next: r.up})

		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		if a := r.do(byTag(alpine, "3.20")); a.err != nil || a.digest != d {
			t.Fatalf("%s %v", a.digest, a.err)
		}
		synctest.Wait()
		two, _ := r.up.image("two")
		r.want(r.do(byDigest(alpine, two)), bypass, two) // it is known by now that nothing is kept
		r.asked(getManifest, getManifest)
		r.want(r.do(byTag(alpine, "3.20")), hit, d) // from memory
		r.want(r.do(byDigest(alpine, two)), hit, two)
		r.asked()
		r.up.down(errDown)
		time.Sleep(time.Hour)
		r.want(r.do(byTag(alpine, "3.20")), stale, d)
	})
}

// What was fetched as a blob is no manifest, whatever it looks like.
func TestBlobIsNoManifest(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		body := []byte(`{"schemaVersion":2,"manifests":[]}`)
		d := r.up.add("", body)
		r.do(blob(alpine, d))
		synctest.Wait()
		r.up.set(func() { r.up.content = map[digest.Digest]document{} })
		if a := r.do(byDigest(alpine, d)); a.reason != pullchain.NotFound {
			t.Errorf("%s %s %v", a.result, a.resp.MediaType, a.err)
		}
	})
}

// A digest stands for the same whatever the first of several clients takes.
func TestByDigestAsksForEveryType(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		req := byDigest(alpine, d)
		req.Accept = acceptSchema2
		r.do(req)
		if accept := r.up.requests[0].Accept; accept != nil {
			t.Errorf("Accept %q", accept)
		}
	})
}

func TestManifestBodyWritesItself(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		r.do(byDigest(alpine, d))
		resp, err := r.hub.Fetch(t.Context(), byDigest(alpine, d))
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		n, err := resp.Body.(io.WriterTo).WriteTo(&b)
		if err != nil || n != resp.Size || digest.FromBytes(b.Bytes()) != d {
			t.Errorf("wrote %d of %d: %v", n, resp.Size, err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestManifestTooLargeForTheCache(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.up.add(wire.TypeOCIManifest, []byte(strings.Repeat(" ", wire.MaxManifest+1)))
		if a := r.do(byDigest(alpine, d)); pullchain.CodeOf(a.err) != pullchain.CodeTooLarge {
			t.Errorf("%s %v", a.result, a.err)
		}
	})
}
