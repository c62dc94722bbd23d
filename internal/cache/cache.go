package cache

import (
	"context"
	"log/slog"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
)

// Options are what a Cache is made of.
type Options struct {
	Store        *blobstore.Store // required; the caller closes it, after the Cache
	TagTTL       *time.Duration   // how long a tag is believed; nil: DefaultTagTTL, 0: it is always asked for
	StaleIfError time.Duration    // how long after that, when no upstream can say; 0: DefaultStaleIfError
	VerifyMax    int64            // see [fill.Config]
	Log          *slog.Logger     // nil discards
}

// A Cache stands before the chains of all registries and outlives them: a reload
// makes new ones with [Cache.Chain]. It is safe for concurrent use.
type Cache struct {
	store *blobstore.Store
	log   *slog.Logger
	life  *life
	times times

	manifests *manifests
	access    *accessProofs
	tags      *tagTable
	lists     *listTable
	fills     *fill.Fills
	counts    counters

	fetches   group[fetchKey, *fetched]           // manifests by digest
	heads     group[headKey, pullchain.Response]  // HEADs by digest of what is not here
	renewals  group[headKey, []pullchain.Attempt] // of access to what is here
	refreshes group[refreshKey, refreshed]        // of tags
	listings  group[listAsked, listed]            // of lists
}

// New returns a Cache over o.Store. It must be closed, before the Store is.
func New(o Options) *Cache {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	alive := newLife()
	ms := newManifests(o.Store, alive, o.Log)
	c := &Cache{
		store:     o.Store,
		log:       o.Log,
		life:      alive,
		manifests: ms,
		access:    newAccessProofs(o.Store, ms),
		tags:      newTagTable(o.Store, alive, o.Log),
		lists:     newListTable(o.Store, alive, o.Log),
		fills:     fill.New(fill.Config{Store: o.Store, Log: o.Log, VerifyMax: o.VerifyMax}),
	}
	c.fetches.life, c.heads.life, c.renewals.life, c.refreshes.life, c.listings.life = alive, alive, alive, alive, alive
	c.SetTimes(o.TagTTL, o.StaleIfError)
	return c
}

// SetTimes changes how long tags are believed, as [Options] has it.
func (c *Cache) SetTimes(tagTTL *time.Duration, staleIfError time.Duration) {
	c.times.set(tagTTL, staleIfError)
}

// SetVerifyMax changes up to how many bytes a blob is verified before it is shown, where
// that is asked for; 0: DefaultVerifyMax.
func (c *Cache) SetVerifyMax(n int64) { c.fills.SetVerifyMax(n) }

// Close ends what is done in the background and waits for it. Blobs that are
// not finished are kept for the next start. Requests after it fail.
func (c *Cache) Close() error {
	c.life.close()
	c.fills.Close()
	return nil
}

// A Registry is what a Cache has to know of a registry's chain.
type Registry = fill.Registry

// Chain returns a Fetcher that answers from the cache what it can, and the rest
// through r.Next. It may be called again for a registry, as a reload does.
func (c *Cache) Chain(r Registry) pullchain.Fetcher { return &chain{cache: c, registry: &r} }

// A chain is the cache as one registry's requests see it.
type chain struct {
	cache    *Cache
	registry *fill.Registry
}

// repository returns what req asks for.
func (h *chain) repository(req pullchain.Request) fill.Repository {
	return fill.RepositoryOf(h.registry, req)
}

// Fetch answers req from the cache or through it; Response.Cache says which.
func (h *chain) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	c := h.cache
	req.Registry = h.registry.Name
	var resp pullchain.Response
	var err error
	switch {
	case req.Op == pullchain.Blob:
		req.Size = c.manifests.sizes.of(h.repository(req), req.Digest)
		resp, err = h.blob(ctx, req)
	case req.Op == pullchain.Manifest && req.Digest != "":
		resp, err = h.byDigest(ctx, req)
	case req.Op == pullchain.Manifest:
		resp, err = h.byTag(ctx, req)
	default:
		resp, err = h.list(ctx, req)
	}
	if err != nil {
		c.counts.failed(req)
		return pullchain.Response{}, err
	}
	c.counts.served(req, resp)
	return resp, nil
}
