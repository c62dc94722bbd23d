package cache

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
)

// A grant says how content may be served.
type grant struct {
	stale    bool                // no upstream could say whether access still stands
	attempts []pullchain.Attempt // of asking
}

// mark notes in a response from the cache how it came to be served.
func (g grant) mark(resp pullchain.Response) pullchain.Response {
	if g.stale {
		resp.Cache = pullchain.CacheStale
	}
	if g.attempts != nil {
		resp.Attempts = g.attempts
	}
	return resp
}

// admit decides whether content that is here may be served to the client that asks
// for it by req. A digest is no authority (CVE-2024-39897): what is not public is
// read through a repository whose access was proved within the last tag_ttl, or is
// proved now, for exactly this.
func (h *chain) admit(ctx context.Context, req pullchain.Request, meta blobstore.Meta) (grant, error) {
	if meta.Public {
		return grant{}, nil
	}
	c, r := h.cache, h.registry
	key := proofKey{h.repository(req), req.Digest}
	p := c.access.last(r, key, meta)
	now := time.Now()
	lasting := p.allowed && c.times.lasting(p.at, now) && key.by.Holder == "" // nothing is told of how long a client's token lasts
	switch {
	case p.public, p.allowed && c.times.fresh(p.at, now):
		return grant{}, nil
	case lasting && now.Sub(p.failed) < refreshPause && excusable(p.err, judges(r, p.login)):
		return grant{stale: true, attempts: attemptsOf(p.err)}, nil
	}
	attempts, err := h.renew(ctx, req, meta, lasting)
	switch {
	case err == nil:
		return grant{attempts: attempts}, nil
	case lasting && err != errApart && excusable(err, judges(r, p.login)):
		c.access.unanswered(key, p, err)
		return grant{stale: true, attempts: attemptsOf(err)}, nil
	case req.Op == pullchain.Blob && unproved(err):
		return grant{}, errApart
	}
	return grant{}, err
}

// unproved reports whether err is no upstream's "no" but a proof that failed, as with a
// lane that sends no ranges: the blob itself may be had all the same.
func unproved(err error) bool {
	switch pullchain.ReasonOf(err) {
	case pullchain.NotFound, pullchain.Denied, pullchain.Canceled:
		return false
	}
	return true
}

// A headKey is content at an endpoint of a repository, as one chain is told of it:
// after a reload the next may not have the login of the last. A request without
// anything to fall back on does not wait for one that has: that one makes no forced
// try.
type headKey struct {
	chain *fill.Registry
	proofKey
	op      pullchain.Op
	noForce bool
}

// sizeOf returns how long the content d is, if it is here or on its way.
func (c *Cache) sizeOf(d digest.Digest) (int64, bool) {
	if m, ok := c.manifests.memory.GetIfPresent(d); ok {
		return int64(len(m.body)), true
	}
	if info, ok := c.store.Stat(d); ok {
		return info.Size, true
	}
	u, ok := c.fills.Underway(d)
	return u.Size, ok
}

// headThrough answers a HEAD by digest for what is not here. It stays a HEAD: at
// Docker Hub that is what costs no pull (docs/protocol.md 4.1).
func (h *chain) headThrough(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	c, r := h.cache, h.registry
	key := proofKey{h.repository(req), req.Digest}
	own, forcing := headKey{r, key, req.Op, req.Options.NoForce}, headKey{r, key, req.Op, false}
	resp, joined, err := c.heads.do(ctx, own, func(ctx context.Context) (pullchain.Response, error) {
		resp, err := r.Next.Fetch(ctx, pullchain.Request{
			Op: req.Op, Head: true, Registry: r.Name, Repo: req.Repo, Digest: req.Digest, Bearer: req.Bearer, Options: req.Options,
		})
		if err != nil {
			c.access.revokeBy(r, err, key)
			return pullchain.Response{}, err
		}
		resp.Body.Close()
		resp.Body = pullchain.NoBody
		return resp, nil
	}, forcing)
	if err != nil {
		return pullchain.Response{}, err
	}
	resp.Cache = pullchain.CacheBypass
	if joined {
		resp.Cache = pullchain.CacheCoalesced
	}
	return resp, nil
}
