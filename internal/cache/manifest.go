package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
	"github.com/pullchain/pullchain/internal/wire"
)

// A manifest is one whose bytes have been hashed and are in memory. It is not
// changed once it is made.
type manifest struct {
	digest    digest.Digest
	mediaType string
	body      []byte
	links     []pullchain.Descriptor
	meta      blobstore.Meta // as it stood; what has changed since is in Cache.proofs
	touched   *atomic.Int64  // when the store was last told of a use, in Unix nanoseconds

	// sizedFor is the repository for which the sizes of links are known to
	// Cache.sizes: as a rule the only one that asks.
	sizedFor *atomic.Pointer[fill.Repository]
}

// answer is response for a repository, whose blobs have the sizes from now on that m
// says they have.
func (c *Cache) answer(by fill.Repository, m *manifest, head bool) pullchain.Response {
	if last := m.sizedFor.Load(); !head && (last == nil || *last != by) {
		m.sizedFor.Store(&by)
		c.sizes.learn(by, m.links)
	}
	return m.response(head)
}

// weight is about what the manifest takes of the memory.
func (m *manifest) weight() uint32 {
	const fixed, link = 512, 256 // the struct and its entry; a Descriptor and its strings
	return uint32(fixed + len(m.body) + link*len(m.links))
}

// response returns m as the answer to a GET, or to a HEAD.
func (m *manifest) response(head bool) pullchain.Response {
	resp := pullchain.Response{
		Status:    http.StatusOK,
		MediaType: m.mediaType,
		Digest:    m.digest,
		Size:      int64(len(m.body)),
		Body:      pullchain.NoBody,
		Cache:     pullchain.CacheHit,
	}
	if head {
		return resp
	}
	resp.Body, resp.Links = pullchain.BytesBody(m.body), m.links
	return resp
}

// byDigest answers a request for a manifest by its digest: for ever from here,
// once it is here and the repository may read it.
func (c *Cache) byDigest(ctx context.Context, r *fill.Registry, req pullchain.Request) (pullchain.Response, error) {
	m := c.manifest(ctx, req.Digest)
	if m == nil && req.Head {
		return c.headThrough(ctx, r, req)
	}
	if m != nil {
		g, err := c.admit(ctx, r, req, m.meta)
		if err != nil {
			return pullchain.Response{}, err
		}
		return g.mark(c.answer(repositoryOf(r, req), m, req.Head)), nil
	}
	f, joined, err := c.fetchManifest(ctx, r, req)
	if err != nil {
		return pullchain.Response{}, err
	}
	resp := c.answered(repositoryOf(r, req), f)
	resp.Cache = shared(resp.Cache, joined)
	return resp, nil
}

// manifest returns the manifest d if it is here, from memory or the store. It
// counts as a use.
func (c *Cache) manifest(ctx context.Context, d digest.Digest) *manifest {
	m, ok := c.manifests.GetIfPresent(d)
	if !ok {
		if _, here := c.store.Stat(d); !here {
			return nil
		}
		// One at a time: who comes late to a corrupt file must not set aside the
		// right one that has been fetched meanwhile.
		m, _, _ = c.loads.do(ctx, d, func(context.Context) (*manifest, error) { return c.load(d), nil })
		return m
	}
	c.touch(m)
	return m
}

// touchEvery bounds how often the store is told of uses that it does not see.
const touchEvery = time.Second

func (c *Cache) touch(m *manifest) {
	now, last := time.Now().UnixNano(), m.touched.Load()
	if now-last >= int64(touchEvery) && m.touched.CompareAndSwap(last, now) {
		c.store.Touch(m.digest)
	}
}

// load reads a manifest from the store into memory, or returns nil. Its bytes are
// hashed first; wrong ones are set aside (FAULTS.md F34).
func (c *Cache) load(d digest.Digest) *manifest {
	if m, ok := c.manifests.GetIfPresent(d); ok {
		return m
	}
	m, err := c.read(d)
	switch {
	case errors.Is(err, blobstore.ErrNotFound):
		return nil
	case err != nil:
		c.log.Warn("stored manifest is set aside", "digest", d, "error", err)
		if err := c.store.SetAside(d, err); err != nil && !errors.Is(err, blobstore.ErrNotFound) {
			c.log.Warn("corrupt manifest cannot be set aside", "digest", d, "error", err)
		}
		return nil
	}
	c.store.MarkVerified(d)
	c.remember(m)
	return m
}

// remember keeps m, which was read from the store, in memory too. If it has been
// removed there meanwhile, it is gone here as well: [Cache.Evict] looks here after
// it has looked there.
func (c *Cache) remember(m *manifest) {
	c.manifests.Set(m.digest, m)
	if _, here := c.store.Stat(m.digest); !here {
		c.manifests.Invalidate(m.digest)
	}
}

// read returns the manifest d of the store. Content that was not fetched as a
// manifest is none: what is a config to one is no index to another.
func (c *Cache) read(d digest.Digest) (*manifest, error) {
	info, ok := c.store.Stat(d)
	if !ok || !wire.IsManifestType(info.MediaType) || info.Size > wire.MaxManifest {
		return nil, blobstore.ErrNotFound
	}
	object, err := c.store.Open(d)
	if err != nil {
		if !errors.Is(err, blobstore.ErrNotFound) {
			c.log.Warn("stored manifest cannot be opened", "digest", d, "error", err)
		}
		return nil, blobstore.ErrNotFound
	}
	defer object.Close()
	body, err := io.ReadAll(io.LimitReader(object.File, wire.MaxManifest+1))
	if err != nil {
		return nil, err
	}
	return newManifest(d, object.Meta, body)
}

// newManifest returns the manifest d with these bytes, if they are its bytes.
func newManifest(d digest.Digest, meta blobstore.Meta, body []byte) (*manifest, error) {
	if got := d.Algorithm().FromBytes(body); got != d {
		return nil, fmt.Errorf("the bytes of %s hash to %s", d, got)
	}
	// Bytes that have the right digest are served, whatever they look like: only
	// what they point at is not known then.
	_, links, _ := wire.ParseManifest(meta.MediaType, body)
	return &manifest{digest: d, mediaType: meta.MediaType, body: body, links: links, meta: meta, touched: &atomic.Int64{}, sizedFor: &atomic.Pointer[fill.Repository]{}}, nil
}

// A fetched is a manifest that came from an upstream.
type fetched struct {
	*manifest
	private  bool
	login    string
	kept     bool // there is room for it
	quota    *pullchain.Quota
	attempts []pullchain.Attempt
	entity   string // see entityOf
}

// answered is answer for a manifest that has just come.
func (c *Cache) answered(by fill.Repository, f *fetched) pullchain.Response {
	resp := c.answer(by, f.manifest, false)
	resp.Cache, resp.Private, resp.Quota, resp.Attempts = pullchain.CacheMiss, f.private, f.quota, f.attempts
	if !f.kept {
		resp.Cache = pullchain.CacheBypass
	}
	return resp
}

// A fetchKey is a manifest that one chain fetches. See headKey.
type fetchKey struct {
	chain *fill.Registry
	proofKey
	noForce bool
}

// fetchManifest fetches and keeps the manifest req.Digest, once for all who ask
// for it in the same repository.
func (c *Cache) fetchManifest(ctx context.Context, r *fill.Registry, req pullchain.Request) (*fetched, bool, error) {
	key := proofKey{repositoryOf(r, req), req.Digest}
	return c.fetches.do(ctx, fetchKey{r, key, req.Options.NoForce}, func(ctx context.Context) (*fetched, error) {
		// What a digest stands for does not depend on what the first of several
		// clients accepts; whether the registry has it may.
		return c.get(ctx, r, pullchain.Request{
			Op: pullchain.Manifest, Registry: r.Name, Repo: req.Repo, Digest: req.Digest, Options: req.Options,
		})
	})
}

// get fetches and keeps the manifest that req names by digest or tag.
func (c *Cache) get(ctx context.Context, r *fill.Registry, req pullchain.Request) (*fetched, error) {
	req.Head = false
	resp, err := r.Next.Fetch(ctx, req)
	by := repositoryOf(r, req)
	if err != nil {
		if req.Digest != "" {
			c.disprovedBy(r, err, proofKey{by, req.Digest})
		}
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxManifest+1))
	if err != nil {
		return nil, err
	}
	if len(body) > wire.MaxManifest {
		return nil, &pullchain.Error{
			Reason: pullchain.Refused, Code: pullchain.CodeTooLarge, Attempts: resp.Attempts, Err: errTooLarge,
		}
	}
	d := req.Digest
	if d == "" {
		d = resp.Digest
	}
	if d == "" {
		d = digest.FromBytes(body)
	}
	now := time.Now()
	meta := blobstore.Meta{MediaType: resp.MediaType, Public: !resp.Private, Added: now}
	meta.Prove(by.String(), now, fill.LoginOf(resp))
	m, err := newManifest(d, meta, body)
	if err != nil {
		return nil, &pullchain.Error{
			Reason: pullchain.Corrupt, Code: pullchain.CodeDigestMismatch, Attempts: resp.Attempts, Err: err,
		}
	}
	f := &fetched{manifest: m, private: resp.Private, login: fill.LoginOf(resp), quota: resp.Quota, attempts: resp.Attempts, entity: entityOf(resp)}
	f.kept = c.keep(m)
	c.proved(proofKey{by, d}, f.login, !resp.Private)
	return f, nil
}

var errTooLarge = errors.New("the manifest is larger than pullchain accepts")

// maxPutting is how many manifests are on their way to the disk at once. Each costs
// a goroutine and a sync: the request that brings one more waits for its own.
const maxPutting = 32

// keep puts m into memory at once and into the store in a moment: as a rule no
// request waits for the disk. It reports whether it is likely to be kept: whether the last one was.
func (c *Cache) keep(m *manifest) bool {
	c.manifests.Set(m.digest, m)
	put := func() {
		err := c.store.Put(m.digest, m.body, m.meta)
		c.keepsNothing.Store(err != nil)
		c.unkept("manifest is not kept", err, "digest", m.digest)
	}
	select {
	case c.putting <- struct{}{}:
		c.life.spawn(func() {
			put()
			<-c.putting
		})
	default:
		put()
	}
	return !c.keepsNothing.Load()
}

// unkept logs why something could not be stored. What the store says of itself, in
// its Stats, is not repeated for every object.
func (c *Cache) unkept(message string, err error, args ...any) {
	switch {
	case err == nil:
	case errors.Is(err, blobstore.ErrFull), errors.Is(err, blobstore.ErrReadOnly):
		c.log.Debug(message, append(args, "error", err)...)
	default:
		c.log.Warn(message, append(args, "error", err)...)
	}
}
