package config

import (
	"slices"
	"strings"

	"github.com/pullchain/pullchain/internal/warm"
)

// warmth checks the [[warm]] tables: what each says, and that there is a cache to fetch
// into and a registry to fetch from.
func (c *checker) warmth(at place) {
	for i, w := range c.cfg.Warm {
		here := at.item(i, "")
		c.room(here, w.Validate())
		if !c.cfg.Cache.On() {
			c.doc.blame(here, "there is nothing to warm: the cache is switched off ([cache] enabled = false)")
		}
		for _, text := range w.Images {
			if img, err := warm.ParseImage(text); err == nil && !c.serves(img.Registry) {
				c.doc.blame(here.child("images"), "%q is in %s, which is no [[registry]] here", text, img.Registry)
			}
		}
	}
}

// serves reports whether a registry of that name is configured.
func (c *checker) serves(name string) bool {
	if _, err := c.cfg.Any(name); err == nil {
		return true
	}
	return slices.ContainsFunc(c.cfg.Registries, func(r Registry) bool {
		return slices.ContainsFunc(append([]string{r.Name}, r.Aliases...), func(n string) bool { return strings.EqualFold(n, name) })
	})
}
