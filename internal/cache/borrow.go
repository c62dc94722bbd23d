package cache

import (
	"context"
	"iter"
	"time"
)

// tagOrBorrowed returns what is known of key, or else what a tag was said to mean
// to clients of another kind, to fall back on.
func (c *Cache) tagOrBorrowed(ctx context.Context, r *registry, key tagKey) *tag {
	if t := c.tags.find(key); t != nil && !t.borrowed {
		return c.tag(r, key)
	}
	return c.borrow(ctx, r, key)
}

// forgetAlike makes key's tag unknown, and to all those of whom key's clients would
// borrow it: what is gone for one is gone for them.
func (c *Cache) forgetAlike(key tagKey) {
	c.tags.forget(key)
	for other := range key.others() {
		if t := c.tags.find(other); t != nil && key.accept.wouldGet(t.mediaType, other.accept) {
			c.tags.forget(other)
		}
	}
}

// others are the keys of the same tag for clients that accept something else.
func (key tagKey) others() iter.Seq[tagKey] {
	return func(yield func(tagKey) bool) {
		for set := accepts(1); set <= acceptAll; set++ {
			if set != key.accept && !yield(tagKey{key.repoKey, key.tag, set}) {
				return
			}
		}
	}
}

// borrow returns what was last said of key's tag to clients that accept something
// else, as far as it is here and key's clients would have been told the same. It is
// never current: it stands in where nobody can be asked.
func (c *Cache) borrow(ctx context.Context, r *registry, key tagKey) *tag {
	var best *tag
	for other := range key.others() {
		t := c.tag(r, other)
		if t == nil || t.borrowed || !key.accept.wouldGet(t.mediaType, other.accept) || best != nil && t.confirmed.Before(best.confirmed) {
			continue
		}
		if c.meant(ctx, r, other, t) != nil {
			best = t
		}
	}
	if best == nil {
		return nil
	}
	lent := *best
	lent.borrowed = true
	return &lent
}

// wouldGet reports whether a client of this set would get the mediaType that one of
// another set got. An index is nobody's choice. A manifest may be: a registry that
// has an index picks one of its platforms for who takes no index (distribution,
// registry/handlers/manifests.go), so that only who could have got more tells.
func (set accepts) wouldGet(mediaType string, other accepts) bool {
	kind := acceptsOf(mediaType)
	if kind&(acceptOCIIndex|acceptDockerList) != 0 {
		return set&kind != 0
	}
	return set&kind != 0 && set&^other == 0
}

// current reports whether what t means need not be asked for now.
func (c *Cache) current(t *tag, now time.Time) bool {
	return !t.borrowed && c.fresh(t.confirmed, now)
}
