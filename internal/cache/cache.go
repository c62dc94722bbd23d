package cache

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
)

// Options are what a Cache is made of.
type Options struct {
	Store        *blobstore.Store // required; the caller closes it, after the Cache
	TagTTL       time.Duration    // how long a tag is believed; 0: DefaultTagTTL
	StaleIfError time.Duration    // how long after that, when nobody can say; 0: DefaultStaleIfError
	Log          *slog.Logger     // nil discards
}

// A Cache stands before the chains of all registries and outlives them: a reload
// makes new ones with [Cache.Chain]. It is safe for concurrent use.
type Cache struct {
	store *blobstore.Store
	log   *slog.Logger
	life  *life
	fills *fill.Fills

	manifests *otter.Cache[digest.Digest, *manifest] // the bytes of those used lately
	proofs    *otter.Cache[proofKey, proof]          // what the store's Meta does not say yet, or cannot
	loads     group[digest.Digest, *manifest]        // from the store
	fetches   group[fetchKey, *fetched]              // manifests by digest
	heads     group[headKey, pullchain.Response]     // HEADs by digest
	refreshes group[refreshKey, refreshed]           // of tags
	tags      *tagTable
	sizes     sizes
	putting   chan struct{} // holds one for each manifest that is on its way to the disk
	counts    counters

	keepsNothing atomic.Bool // the last manifest could not be stored

	tagTTL       atomic.Int64 // time.Duration
	staleIfError atomic.Int64 // time.Duration
}

// Limits of what is kept in memory.
const (
	manifestBytes = 64 << 20
	proofsKept    = 64 << 10
)

// New returns a Cache over o.Store. It must be closed, before the Store is.
func New(o Options) *Cache {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	alive := newLife()
	c := &Cache{
		store: o.Store,
		log:   o.Log,
		life:  alive,
		fills: fill.New(fill.Config{Store: o.Store, Log: o.Log}),
		manifests: otter.Must(&otter.Options[digest.Digest, *manifest]{
			MaximumWeight: manifestBytes,
			Weigher:       func(_ digest.Digest, m *manifest) uint32 { return m.weight() },
		}),
		proofs:  otter.Must(&otter.Options[proofKey, proof]{MaximumSize: proofsKept}),
		tags:    newTagTable(o.Store, alive, o.Log),
		sizes:   newSizes(),
		putting: make(chan struct{}, maxPutting),
	}
	c.loads.life, c.fetches.life, c.heads.life, c.refreshes.life = alive, alive, alive, alive
	c.SetTimes(o.TagTTL, o.StaleIfError)
	return c
}

// SetTimes changes how long tags are believed, as [Options] has it.
func (c *Cache) SetTimes(tagTTL, staleIfError time.Duration) {
	if tagTTL == 0 {
		tagTTL = DefaultTagTTL
	}
	if staleIfError == 0 {
		staleIfError = DefaultStaleIfError
	}
	c.tagTTL.Store(int64(tagTTL))
	c.staleIfError.Store(int64(staleIfError))
}

// fresh reports whether what was so at a moment needs no asking now. What seems
// to be of the future was written by a clock that has been set back since.
func (c *Cache) fresh(at, now time.Time) bool {
	age := now.Sub(at)
	return age >= 0 && age < time.Duration(c.tagTTL.Load())
}

// lasting reports whether what was so at a moment may still be served when nobody
// can say whether it is.
func (c *Cache) lasting(at, now time.Time) bool {
	return !at.IsZero() && now.Sub(at) <= time.Duration(c.staleIfError.Load())
}

// Close ends what is done in the background and waits for it. Blobs that nobody
// has finished are kept for the next start. Requests after it fail.
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

// Fetch answers req from the cache or through it; Response.Cache says which.
func (h *chain) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	c, r := h.cache, h.registry
	req.Registry = r.Name
	var resp pullchain.Response
	var err error
	switch {
	case req.Op == pullchain.Blob:
		req.Size = c.sizes.of(repositoryOf(r, req), req.Digest)
		resp, err = c.blob(ctx, r, req)
	case req.Op == pullchain.Manifest && req.Digest != "":
		resp, err = c.byDigest(ctx, r, req)
	case req.Op == pullchain.Manifest:
		resp, err = c.byTag(ctx, r, req)
	default:
		resp, err = r.Next.Fetch(ctx, req)
		resp.Cache = pullchain.CacheBypass
	}
	if err != nil {
		c.counts.failed(req)
		return pullchain.Response{}, err
	}
	c.counts.served(req, resp)
	return resp, nil
}
