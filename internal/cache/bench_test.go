package cache_test

import (
	"context"
	"io"
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
)

func BenchmarkManifestHitTag(b *testing.B) {
	benchmarkHit(b, byTag(alpine, "3.20"))
}

func BenchmarkManifestHitTagHead(b *testing.B) {
	benchmarkHit(b, head(byTag(alpine, "3.20")))
}

func BenchmarkManifestHitDigest(b *testing.B) {
	up := newUpstream()
	d, _ := up.image("one")
	benchmarkHit(b, byDigest(alpine, d))
}

// benchmarkHit measures a warm manifest, from all processors at once.
func benchmarkHit(b *testing.B, req pullchain.Request) {
	store, err := blobstore.Open(blobstore.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	c := cache.New(cache.Options{Store: store})
	defer c.Close()
	up := newUpstream()
	d, _ := up.image("one")
	up.tag("library/alpine:3.20", d)
	hub := c.Chain(cache.Registry{Name: "docker.io", Next: up})
	fetchOnce := func() {
		resp, err := hub.Fetch(context.Background(), req)
		if err != nil {
			b.Error(err)
			return
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	fetchOnce()
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			fetchOnce()
		}
	})
}
