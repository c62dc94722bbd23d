package cache_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/pullchain/pullchain"
)

// docs/faults.md F19: a blob is asked for with the size that a manifest of its repository
// has, be that fetched just now, kept in memory or read from the disk after a restart.
func TestF19SizesComeFromManifests(t *testing.T) {
	const other = "other/app"
	fromMemory := func(*rig) {}
	for i, tt := range []struct {
		name     string
		manifest pullchain.Request // what is asked for before the blob
		again    func(r *rig)      // what happens between the first client of the manifest and the next
		repo     string            // of the blob
		known    bool
	}{
		{"by tag", byTag(alpine, "3"), fromMemory, alpine, true},
		{"by tag, after a restart", byTag(alpine, "3"), (*rig).restart, alpine, true},
		{"by digest", byDigest(alpine, ""), fromMemory, alpine, true},
		{"by digest, after a restart", byDigest(alpine, ""), (*rig).restart, alpine, true},
		{"of another repository", byTag(alpine, "3"), fromMemory, other, false},
		{"by the headers alone, after a restart", head(byTag(alpine, "3")), (*rig).restart, alpine, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				text := fmt.Sprint("image ", i)
				m, layer := r.up.image(text)
				r.up.tag(alpine+":3", m)
				if tt.manifest.Tag == "" {
					tt.manifest.Digest = m
				}
				first := tt.manifest
				first.Head = false
				r.do(first)
				tt.again(r)
				r.do(tt.manifest)
				synctest.Wait()
				r.up.set(func() { r.up.requests = nil })
				r.do(blob(tt.repo, layer))
				want := int64(0)
				if tt.known {
					want = int64(len("layer of " + text))
				}
				if len(r.up.requests) != 1 || r.up.requests[0].Size != want {
					t.Errorf("asked %+v, want one request with the size %d", r.up.requests, want)
				}
			})
		})
	}
}
