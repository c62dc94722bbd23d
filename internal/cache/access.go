package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
)

// A proofKey is content as one repository has it.
type proofKey struct {
	by     fill.Repository
	digest digest.Digest
}

// A proof is the last word on whether content may be read through a repository.
// It is kept beside Meta.Repos, which says the same: for content that is not
// stored yet, and for a store that cannot be written.
type proof struct {
	at      time.Time // of the last word; zero if there was none
	allowed bool      // what it was
	login   string    // by which login, if allowed
	public  bool      // it needed no login
	failed  time.Time // when nobody could say, after at; else zero
	err     error     // why not
}

// A grant says how content may be served.
type grant struct {
	stale    bool                // nobody could say whether access still stands
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

// admit decides whether content that is here may be served to who asks for it by
// req. A digest is no authority (CVE-2024-39897): what is not public is read
// through a repository whose access was proved within the last tag_ttl, or is
// proved now, by a HEAD for exactly this.
func (c *Cache) admit(ctx context.Context, r *fill.Registry, req pullchain.Request, meta blobstore.Meta) (grant, error) {
	if meta.Public {
		return grant{}, nil
	}
	key := proofKey{repositoryOf(r, req), req.Digest}
	p := c.lastProof(r, key, meta)
	now := time.Now()
	lasting := p.allowed && c.lasting(p.at, now)
	switch {
	case p.public, p.allowed && c.fresh(p.at, now):
		return grant{}, nil
	case lasting && now.Sub(p.failed) < refreshPause && excusable(p.err, judges(r, p.login)):
		return grant{stale: true, attempts: attemptsOf(p.err)}, nil
	}
	resp, _, err := c.headDigest(ctx, r, req, pullchain.FetchOptions{NoForce: lasting})
	switch {
	case err == nil:
		return grant{attempts: resp.Attempts}, nil
	case lasting && excusable(err, judges(r, p.login)):
		c.unanswered(key, p, err)
		return grant{stale: true, attempts: attemptsOf(err)}, nil
	}
	return grant{}, err
}

// vouched reports whether the content of key is public, or its repository has had
// it before: that a tag means a digest is said in a header, and whoever says so
// need not have the bytes.
func (c *Cache) vouched(r *fill.Registry, key proofKey) bool {
	meta := c.metaOf(key.digest)
	return meta.Public || c.lastProof(r, key, meta).allowed
}

// metaOf returns what is known of content that is here.
func (c *Cache) metaOf(d digest.Digest) blobstore.Meta {
	if info, here := c.store.Stat(d); here {
		return info.Meta
	}
	if m, ok := c.manifests.GetIfPresent(d); ok {
		return m.meta
	}
	return blobstore.Meta{}
}

// lastProof returns the last word on key. That of a login that is gone is none.
func (c *Cache) lastProof(r *fill.Registry, key proofKey, meta blobstore.Meta) proof {
	p, _ := c.proofs.GetIfPresent(key)
	if at := meta.Repos[key.by.String()]; at.After(p.at) {
		p = proof{at: at, allowed: true, login: meta.Logins[key.by.String()]}
	}
	if p.allowed && !p.public && !r.Stands(p.login) {
		return proof{}
	}
	return p
}

// revoked reports whether access through a repository has been refused since it
// was last granted, as far as is remembered.
func (c *Cache) revoked(key proofKey, since time.Time) bool {
	p, ok := c.proofs.GetIfPresent(key)
	if ok && !p.at.Before(since) {
		return !p.allowed
	}
	info, here := c.store.Stat(key.digest)
	if !here || info.Public {
		return false
	}
	_, stands := info.Repos[key.by.String()]
	return !stands
}

// proved notes that an upstream has let us have content just now, and what login
// that took. Only bytes that came without one make it public; a header speaks for
// its repository alone.
func (c *Cache) proved(key proofKey, login string, public bool) {
	now := time.Now()
	c.proofs.Set(key, proof{at: now, allowed: true, login: login, public: public})
	info, here := c.store.Stat(key.digest)
	if !here || info.Public {
		return
	}
	c.amend(key.digest, func(meta *blobstore.Meta) {
		if public {
			meta.Public = true
			return
		}
		meta.Prove(key.by.String(), now, login)
	})
}

// disprovedBy takes a repository's access away if err is the "no" of an upstream
// that can tell.
func (c *Cache) disprovedBy(r *fill.Registry, err error, key proofKey) {
	meta := c.metaOf(key.digest)
	p := c.lastProof(r, key, meta)
	if p.allowed && !takenAway(err, judges(r, p.login)) || !p.allowed && !no(err) {
		return
	}
	c.proofs.Set(key, proof{at: time.Now()})
	if _, had := meta.Repos[key.by.String()]; had {
		c.amend(key.digest, func(meta *blobstore.Meta) { meta.Disprove(key.by.String()) })
	}
}

// unanswered notes that nobody could say whether p still stands, so that they are
// not asked again at once.
func (c *Cache) unanswered(key proofKey, p proof, err error) {
	p.failed, p.err = time.Now(), err
	c.proofs.Set(key, p)
}

// amend changes what is kept about d, on the disk and of the copy in memory.
func (c *Cache) amend(d digest.Digest, change func(*blobstore.Meta)) {
	err := c.store.Update(d, change)
	if !errors.Is(err, blobstore.ErrNotFound) {
		c.unkept("access is not recorded", err, "digest", d)
	}
	c.manifests.ComputeIfPresent(d, func(m *manifest) (*manifest, otter.ComputeOp) {
		changed := *m
		change(&changed.meta)
		return &changed, otter.WriteOp
	})
}

// A headKey is content at an endpoint of a repository, as one chain is told of it:
// after a reload the next may not have the login of the last. A request that has
// something to fall back on is no one's to wait for that has not: it makes no
// forced try.
type headKey struct {
	chain *fill.Registry
	proofKey
	op      pullchain.Op
	noForce bool
}

// headDigest asks upstream for the headers of req.Digest, once for all who want
// to know, and remembers what that proves of content that is here. A word on what
// is not is worth nothing later: who says yes to everything has not got it either.
func (c *Cache) headDigest(ctx context.Context, r *fill.Registry, req pullchain.Request, options pullchain.FetchOptions) (pullchain.Response, bool, error) {
	key := proofKey{repositoryOf(r, req), req.Digest}
	return c.heads.do(ctx, headKey{r, key, req.Op, options.NoForce}, func(ctx context.Context) (pullchain.Response, error) {
		resp, err := r.Next.Fetch(ctx, pullchain.Request{
			Op: req.Op, Head: true, Registry: r.Name, Repo: req.Repo, Digest: req.Digest, Options: options,
		})
		if err != nil {
			c.disprovedBy(r, err, key)
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
			c.proved(key, fill.LoginOf(resp), false) // whoever says yes need not have the bytes
		}
		return resp, nil
	})
}

// sizeOf returns how long the content d is, if it is here or on its way.
func (c *Cache) sizeOf(d digest.Digest) (int64, bool) {
	if m, ok := c.manifests.GetIfPresent(d); ok {
		return int64(len(m.body)), true
	}
	if info, ok := c.store.Stat(d); ok {
		return info.Size, true
	}
	u, ok := c.fills.Underway(d)
	return u.Size, ok
}

// headThrough answers a HEAD by digest for what is not here. It stays a HEAD: at
// Docker Hub that is what costs no pull (PROTOCOL.md 4.1).
func (c *Cache) headThrough(ctx context.Context, r *fill.Registry, req pullchain.Request) (pullchain.Response, error) {
	resp, joined, err := c.headDigest(ctx, r, req, req.Options)
	if err != nil {
		return pullchain.Response{}, err
	}
	resp.Cache = pullchain.CacheBypass
	if joined {
		resp.Cache = pullchain.CacheCoalesced
	}
	return resp, nil
}
