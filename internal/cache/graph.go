package cache

import (
	"context"
	"io"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/wire"
)

// A graph is all that is here at a moment, and what points at what: tags at
// manifests, manifests at what they are made of.
type graph struct {
	objects map[digest.Digest]blobstore.Info
	partial map[digest.Digest]blobstore.Partial // what is not whole
	tags    map[tagKey]digest.Digest
	links   map[digest.Digest][]digest.Digest // of every manifest that is here
}

// A set is digests.
type set map[digest.Digest]bool

// graph reads what is here. It does not count as a use.
func (c *Cache) graph(ctx context.Context) (*graph, error) {
	g := &graph{
		objects: make(map[digest.Digest]blobstore.Info),
		partial: make(map[digest.Digest]blobstore.Partial),
		tags:    make(map[tagKey]digest.Digest),
		links:   make(map[digest.Digest][]digest.Digest),
	}
	for d, m := range c.manifests.memory.All() {
		g.links[d] = digestsOf(m.links)
	}
	for info := range c.store.All(ctx) {
		g.objects[info.Digest] = info
		if _, known := g.links[info.Digest]; !known && wire.IsManifestType(info.MediaType) {
			g.links[info.Digest] = c.linksOf(info)
		}
	}
	for _, p := range c.store.Partials(ctx) {
		if _, whole := g.objects[p.Digest]; !whole {
			g.partial[p.Digest] = p
		}
	}
	c.tags.all(func(key tagKey, d digest.Digest) { g.tags[key] = d })
	return g, ctx.Err()
}

// linksOf reads what a stored manifest points at; nil if it cannot be read.
func (c *Cache) linksOf(info blobstore.Info) []digest.Digest {
	object, err := c.store.Peek(info.Digest)
	if err != nil {
		return nil
	}
	defer object.Close()
	body, err := io.ReadAll(io.LimitReader(object.File, wire.MaxManifest+1))
	if err != nil {
		return nil
	}
	_, links, _ := wire.ParseManifest(info.MediaType, body)
	return digestsOf(links)
}

func digestsOf(links []pullchain.Descriptor) []digest.Digest {
	digests := make([]digest.Digest, len(links))
	for i, link := range links {
		digests[i] = link.Digest
	}
	return digests
}

// below returns roots and everything that they are made of, here or not.
func (g *graph) below(roots set) set {
	found := make(set)
	queue := slices.Collect(maps.Keys(roots))
	for len(queue) > 0 {
		d := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if !found[d] {
			found[d] = true
			queue = append(queue, g.links[d]...)
		}
	}
	return found
}

// images returns the names of the images that each digest is a part of. Manifests
// that no tag leads to are named by their digests.
func (g *graph) images() map[digest.Digest][]string {
	names := make(map[digest.Digest]map[string]bool)
	name := func(root digest.Digest, image string) {
		for d := range g.below(set{root: true}) {
			if names[d] == nil {
				names[d] = make(map[string]bool)
			}
			names[d][image] = true
		}
	}
	for key, d := range g.tags {
		name(d, key.image())
	}
	for _, root := range g.untagged() {
		for repo := range g.objects[root].Repos {
			name(root, repo+"@"+root.String())
		}
	}
	sorted := make(map[digest.Digest][]string, len(names))
	for d, images := range names {
		sorted[d] = slices.Sorted(maps.Keys(images))
	}
	return sorted
}

// untagged returns the manifests that neither a tag nor another manifest leads to.
func (g *graph) untagged() []digest.Digest {
	led := make(set)
	for _, d := range g.tags {
		led[d] = true
	}
	for _, links := range g.links {
		for _, d := range links {
			led[d] = true
		}
	}
	var roots []digest.Digest
	for d := range g.links {
		if !led[d] {
			roots = append(roots, d)
		}
	}
	return roots
}
