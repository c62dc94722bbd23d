package cache

import (
	"context"
	"fmt"
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
// proved now, by a HEAD for exactly this.
func (h *chain) admit(ctx context.Context, req pullchain.Request, meta blobstore.Meta) (grant, error) {
	if meta.Public {
		return grant{}, nil
	}
	c, r := h.cache, h.registry
	key := proofKey{h.repository(req), req.Digest}
	p := c.access.last(r, key, meta)
	now := time.Now()
	lasting := p.allowed && c.times.lasting(p.at, now)
	switch {
	case p.public, p.allowed && c.times.fresh(p.at, now):
		return grant{}, nil
	case lasting && now.Sub(p.failed) < refreshPause && excusable(p.err, judges(r, p.login)):
		return grant{stale: true, attempts: attemptsOf(p.err)}, nil
	}
	resp, _, err := h.headDigest(ctx, req, pullchain.FetchOptions{NoForce: lasting, HeadersOnly: true})
	switch {
	case err == nil:
		return grant{attempts: resp.Attempts}, nil
	case lasting && excusable(err, judges(r, p.login)):
		c.access.unanswered(key, p, err)
		return grant{stale: true, attempts: attemptsOf(err)}, nil
	}
	return grant{}, err
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

// headDigest asks upstream for the headers of req.Digest, once for all that want
// to know, and remembers what that proves of content that is here. A word on what
// is not is worth nothing later: an upstream that says yes to everything has not got
// it either.
func (h *chain) headDigest(ctx context.Context, req pullchain.Request, options pullchain.FetchOptions) (pullchain.Response, bool, error) {
	c, r := h.cache, h.registry
	key := proofKey{h.repository(req), req.Digest}
	own, forcing := headKey{r, key, req.Op, options.NoForce}, headKey{r, key, req.Op, false}
	return c.heads.do(ctx, own, func(ctx context.Context) (pullchain.Response, error) {
		resp, err := r.Next.Fetch(ctx, pullchain.Request{
			Op: req.Op, Head: true, Registry: r.Name, Repo: req.Repo, Digest: req.Digest, Options: options,
		})
		if err != nil {
			c.access.revokeBy(r, err, key)
			return pullchain.Response{}, err
		}
		resp.Body.Close()
		resp.Body = pullchain.NoBody
		size, here := c.sizeOf(key.digest)
		switch {
		case !here:
		case resp.Size >= 0 && resp.Size != size:
			return pullchain.Response{}, &pullchain.Error{
				Reason: pullchain.Corrupt, Code: pullchain.CodeWrongSize, Attempts: resp.Attempts,
				Err: fmt.Errorf("said to be of %d bytes, and is of %d", resp.Size, size),
			}
		default:
			c.access.grant(key, fill.LoginOf(resp), false) // an upstream that says yes need not have the bytes
		}
		return resp, nil
	}, forcing)
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
	resp, joined, err := h.headDigest(ctx, req, req.Options)
	if err != nil {
		return pullchain.Response{}, err
	}
	resp.Cache = pullchain.CacheBypass
	if joined {
		resp.Cache = pullchain.CacheCoalesced
	}
	return resp, nil
}
