package cache

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/fill"
)

// A Holding is what the cache has of one image.
type Holding struct {
	Digest    digest.Digest `json:"digest"`     // what the tag means, or what was asked for; empty if that is not known
	MediaType string        `json:"media_type"` // of the manifest, as far as it is known
	Confirmed *time.Time    `json:"confirmed"`  // when an upstream said last what the tag means; null by digest
	Fresh     bool          `json:"fresh"`      // no upstream is asked now: so lately was it confirmed, or it is by digest and here
	Manifest  bool          `json:"manifest"`   // the manifest is here
	Objects   int           `json:"objects"`    // of the image that are here, the manifest with them
	Bytes     int64         `json:"bytes"`      // in them
}

// Holding returns what is here of an image by tag or, if that is not empty, by digest.
// It asks no upstream, and counts as no use. Clients of different kinds may be told
// different things of one tag: it is what was confirmed last. Errors are of ctx.
func (c *Cache) Holding(ctx context.Context, registry, repo, tag string, d digest.Digest) (Holding, error) {
	g, err := c.graph(ctx)
	if err != nil {
		return Holding{}, err
	}
	h := Holding{Digest: d}
	if d == "" {
		h = c.meaningOf(g, fill.Repository{Registry: registry, Name: repo}, tag)
	}
	if h.Digest == "" {
		return h, nil
	}
	if info, here := g.objects[h.Digest]; here {
		h.Manifest, h.MediaType = true, info.MediaType
		h.Fresh = h.Fresh || d != ""
	}
	for part := range g.below(set{h.Digest: true}) {
		if info, here := g.objects[part]; here {
			h.Objects++
			h.Bytes += info.Size
		}
	}
	return h, nil
}

// meaningOf returns what is known of a tag.
func (c *Cache) meaningOf(g *graph, repo fill.Repository, name string) Holding {
	var h Holding
	now := time.Now()
	for key := range g.tags {
		if key.Repository != repo || key.tag != name {
			continue
		}
		t := c.tags.find(key)
		if t == nil || h.Confirmed != nil && !t.confirmed.After(*h.Confirmed) {
			continue
		}
		confirmed := t.confirmed
		h = Holding{Digest: t.digest, MediaType: t.mediaType, Confirmed: &confirmed, Fresh: c.times.fresh(confirmed, now)}
	}
	return h
}
