package cache

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// The kinds of an Entry.
const (
	KindManifest = "manifest"
	KindBlob     = "blob"
	KindPartial  = "partial" // a blob that is being fetched, or whose fetch was given up for now
)

// An Entry is one object of the cache, for people to look at. A partial blob is neither
// public nor private yet: whether a request may read it, an upstream says when the
// fetch goes on.
type Entry struct {
	Digest    digest.Digest `json:"digest"`
	Kind      string        `json:"kind"`
	Size      int64         `json:"size"`       // of the whole; -1 if it is not known
	Here      int64         `json:"here_bytes"` // less than Size for a partial blob only
	MediaType string        `json:"media_type"` // of a manifest
	Images    []string      `json:"images"`     // that it is a part of, as far as is known
	Public    bool          `json:"public"`     // it took no login to get it
	Pinned    bool          `json:"pinned"`
	Verified  bool          `json:"verified"` // hashed since the process began
	Used      time.Time     `json:"used"`     // last; of a partial blob: written
}

// List returns the objects and partial blobs of which query is a part of the digest or of an
// image's name, those used last first; all of them for "". It counts as no use.
// When ctx ends it returns what it has found by then.
func (c *Cache) List(ctx context.Context, query string) []Entry {
	g, _ := c.graph(ctx)
	images := g.images()
	var entries []Entry
	for d, info := range g.objects {
		e := Entry{
			Digest: d, Kind: KindBlob, Size: info.Size, Here: info.Size, MediaType: info.MediaType, Images: images[d],
			Public: info.Public, Pinned: info.Pinned, Verified: info.Verified, Used: info.Used,
		}
		if info.MediaType != "" {
			e.Kind = KindManifest
		}
		entries = append(entries, e)
	}
	for d, p := range g.partial {
		entries = append(entries, Entry{Digest: d, Kind: KindPartial, Size: p.Size, Here: p.Here, Images: images[d], Used: p.Written})
	}
	entries = slices.DeleteFunc(entries, func(e Entry) bool { return !e.matches(query) })
	for i := range entries {
		if entries[i].Images == nil {
			entries[i].Images = []string{}
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(b.Used.Compare(a.Used), cmp.Compare(a.Digest, b.Digest))
	})
	return entries
}

func (e Entry) matches(query string) bool {
	return strings.Contains(e.Digest.String(), query) ||
		slices.ContainsFunc(e.Images, func(image string) bool { return strings.Contains(image, query) })
}
