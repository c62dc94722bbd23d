package cache

import (
	"context"
	"net/http"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/fill"
)

// A refreshed is what came of asking for a tag.
type refreshed struct {
	get      bool // with its manifest
	tag      *tag // what it means now; nil if that was not said
	resp     pullchain.Response
	manifest *manifest // when get
}

// byTag answers a request for a manifest by a tag: what it meant within tag_ttl,
// what an upstream says it means, or what it meant last when nobody can say.
func (c *Cache) byTag(ctx context.Context, r *fill.Registry, req pullchain.Request) (pullchain.Response, error) {
	key := tagKey{repositoryOf(r, req), req.Tag, acceptOf(req.Accept)}
	if resp, ok := c.known(ctx, r, key, req.Head); ok {
		return resp, nil
	}
	req.Accept = key.accept.question(req.Accept)
	return c.byRefresh(ctx, r, key, req)
}

// tag returns what is known of key. What a login was told that is gone from the
// configuration is nothing.
func (c *Cache) tag(r *fill.Registry, key tagKey) *tag {
	t := c.tags.find(key)
	if t != nil && t.private && !r.Stands(t.login) {
		return nil
	}
	return t
}

// A refreshKey is a tag that is being asked for.
type refreshKey struct {
	chain *fill.Registry // after a reload the next may not have the login of the last
	tagKey
	alone bool // apart from others, who ask by HEAD all the time
}

// byRefresh answers by asking upstream, or by waiting for one who does. Only one
// asks at a time; a GET that has waited for others' HEADs in vain has its turn
// in the end.
func (c *Cache) byRefresh(ctx context.Context, r *fill.Registry, key tagKey, req pullchain.Request) (pullchain.Response, error) {
	const rounds = 3
	for round := 1; ; round++ {
		got, joined, err := c.refreshes.do(ctx, refreshKey{r, key, round > rounds}, func(ctx context.Context) (refreshed, error) {
			return c.refresh(ctx, r, key, req)
		})
		if joined && !got.get && !req.Head && ctx.Err() == nil {
			if resp, ok := c.known(ctx, r, key, false); ok {
				return resp, nil
			}
			continue
		}
		if err != nil {
			return c.fallback(ctx, r, key, c.tag(r, key), req.Head, err)
		}
		return c.refreshedAs(key.Repository, got, joined, req.Head), nil
	}
}

// known returns the answer that needs nobody to be asked: what is known of key is
// fresh, or it has just been found out that nobody can say.
func (c *Cache) known(ctx context.Context, r *fill.Registry, key tagKey, head bool) (pullchain.Response, bool) {
	t := c.tag(r, key)
	if t == nil {
		return pullchain.Response{}, false
	}
	now := time.Now()
	if c.fresh(t.confirmed, now) {
		resp, ok := c.meaning(ctx, r, key, t, head)
		resp.Age = now.Sub(t.confirmed)
		return resp, ok
	}
	if t.err == nil || now.Sub(t.failed) >= refreshPause {
		return pullchain.Response{}, false
	}
	resp, err := c.fallback(ctx, r, key, t, head, t.err)
	return resp, err == nil
}

// meaning returns what t means, as far as it is here.
func (c *Cache) meaning(ctx context.Context, r *fill.Registry, key tagKey, t *tag, head bool) (pullchain.Response, bool) {
	if head && t.complete() {
		return pullchain.Response{
			Status: http.StatusOK, MediaType: t.mediaType, Digest: t.digest, Size: t.size,
			Body: pullchain.NoBody, Cache: pullchain.CacheHit,
		}, true
	}
	m := c.meant(ctx, r, key, t)
	if m == nil {
		return pullchain.Response{}, false
	}
	return c.answer(key.Repository, m, head), true
}

// meant returns the manifest that t means, if it is here and the repository has
// had it before.
func (c *Cache) meant(ctx context.Context, r *fill.Registry, key tagKey, t *tag) *manifest {
	if !c.vouched(r, proofKey{key.Repository, t.digest}) {
		return nil
	}
	return c.manifest(ctx, t.digest)
}

// fallback answers with what t meant, if err allows it; else the answer is err.
func (c *Cache) fallback(ctx context.Context, r *fill.Registry, key tagKey, t *tag, head bool, err error) (pullchain.Response, error) {
	now := time.Now()
	if t == nil || !excusable(err, judgesOf(r, t)) || !c.stands(key, t, now) {
		return pullchain.Response{}, err
	}
	resp, ok := c.meaning(ctx, r, key, t, head)
	if !ok {
		return pullchain.Response{}, err
	}
	resp.Cache, resp.Age, resp.Attempts = pullchain.CacheStale, max(now.Sub(t.confirmed), 0), attemptsOf(err)
	return resp, nil
}

// judgesOf returns who can say that t is not there, or not for us; nil for a public
// tag, of which only the verdict over all attempts counts.
func judgesOf(r *fill.Registry, t *tag) func(upstream string) bool {
	if !t.private {
		return nil
	}
	return judges(r, t.login)
}

// stands reports whether t may be served when nobody can say what it means now.
func (c *Cache) stands(key tagKey, t *tag, now time.Time) bool {
	return c.lasting(t.confirmed, now) && (!t.private || !c.revoked(proofKey{key.Repository, t.digest}, t.confirmed))
}

// refreshedAs returns what was found out as the answer to one of those who waited.
func (c *Cache) refreshedAs(by fill.Repository, got refreshed, joined, head bool) pullchain.Response {
	resp := got.resp
	if got.manifest != nil {
		resp = c.answer(by, got.manifest, head)
		resp.Private, resp.Quota, resp.Attempts = got.resp.Private, got.resp.Quota, got.resp.Attempts
		resp.Cache = got.resp.Cache
	}
	resp.Cache = shared(resp.Cache, joined)
	return resp
}

// refresh finds out what a tag means, with as few counted requests as can be. Only
// one runs at a time for a key.
func (c *Cache) refresh(ctx context.Context, r *fill.Registry, key tagKey, req pullchain.Request) (refreshed, error) {
	t, now := c.tag(r, key), time.Now()
	got := refreshed{get: !req.Head}
	var m *manifest
	here := false // what it meant last
	switch {
	case t == nil:
	case req.Head:
		got.resp, here = c.meaning(ctx, r, key, t, true)
	default:
		m = c.meant(ctx, r, key, t)
		here = m != nil
	}
	if here && c.fresh(t.confirmed, now) { // since the caller looked
		got.tag, got.manifest, got.resp.Cache = t, m, pullchain.CacheHit
		return got, nil
	}
	// With something to fall back on nobody is asked whose gate is shut (DESIGN.md,
	// Gates: stale goes before the forced try).
	req.Options.NoForce = req.Options.NoForce || here && c.stands(key, t, now)
	err := c.ask(ctx, r, key, t, m, req, &got)
	if err != nil {
		c.unrefreshed(r, key, t, err)
	}
	return got, err
}

// ask asks the upstreams what a tag means: by HEAD when that is what the client
// wants, or when its manifest may be here.
func (c *Cache) ask(ctx context.Context, r *fill.Registry, key tagKey, t *tag, m *manifest, req pullchain.Request, got *refreshed) error {
	switch {
	case req.Head:
		return c.askHead(ctx, r, key, t, req, got)
	case t != nil && m == nil && c.fresh(t.confirmed, time.Now()):
		// A HEAD has told us its digest a moment ago: this is what it stood for then,
		// and mirrors that may not speak of tags may have it.
		return c.getChanged(ctx, r, key, t, req, got)
	case m == nil:
		return c.getTag(ctx, r, key, req, got)
	}
	head := req
	head.Head = true
	if err := c.askHead(ctx, r, key, t, head, got); err != nil {
		return err
	}
	switch {
	case got.tag == nil:
		return c.getTag(ctx, r, key, req, got)
	case got.tag.digest != t.digest:
		return c.getChanged(ctx, r, key, got.tag, req, got)
	}
	got.manifest = m
	got.resp.Cache = pullchain.CacheHit
	return nil
}

// askHead asks by HEAD. For a client's HEAD the answer is what the tag means from
// now on; for a GET only when it is what it meant before: else its manifest has
// yet to be fetched, and until then what is here is better than nothing.
func (c *Cache) askHead(ctx context.Context, r *fill.Registry, key tagKey, t *tag, req pullchain.Request, got *refreshed) error {
	resp, err := r.Next.Fetch(ctx, req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	resp.Body = pullchain.NoBody
	entity := entityOf(resp)
	if resp.Digest == "" && t != nil && entity != "" && entity == t.entity {
		resp.Digest = t.digest // who said it then says that nothing has changed
	}
	got.resp = resp
	got.resp.Cache = pullchain.CacheBypass
	if resp.Digest == "" {
		return nil
	}
	got.tag = &tag{
		digest: resp.Digest, mediaType: resp.MediaType, size: resp.Size, private: resp.Private, login: fill.LoginOf(resp),
		entity: entity, confirmed: time.Now(),
	}
	got.resp.Cache = pullchain.CacheMiss
	if t != nil && t.digest == resp.Digest {
		got.resp.Cache = pullchain.CacheHit
		if !got.tag.complete() {
			got.tag.mediaType, got.tag.size = t.mediaType, t.size
		}
	}
	if !got.get || got.resp.Cache == pullchain.CacheHit {
		c.confirm(r, key, got.tag)
	}
	return nil
}

// getChanged fetches what t means by its digest. A mirror that has the tag may lack
// the digest (PROTOCOL.md 4.8): then the tag itself is asked for.
func (c *Cache) getChanged(ctx context.Context, r *fill.Registry, key tagKey, t *tag, req pullchain.Request, got *refreshed) error {
	if m := c.meant(ctx, r, key, t); m != nil {
		got.manifest, got.resp.Cache = m, pullchain.CacheHit
		c.confirm(r, key, got.tag)
		return nil
	}
	byDigest := req
	byDigest.Digest, byDigest.Tag = t.digest, ""
	f, _, err := c.fetchManifest(ctx, r, byDigest)
	switch {
	case pullchain.ReasonOf(err) == pullchain.NotFound && err != nil:
		return c.getTag(ctx, r, key, req, got)
	case err != nil:
		return err
	}
	c.take(key, got, f)
	c.confirm(r, key, got.tag)
	return nil
}

// getTag fetches what a tag means.
func (c *Cache) getTag(ctx context.Context, r *fill.Registry, key tagKey, req pullchain.Request, got *refreshed) error {
	f, err := c.get(ctx, r, req)
	if err != nil {
		return err
	}
	c.take(key, got, f)
	got.tag = &tag{
		digest: f.digest, mediaType: f.mediaType, size: int64(len(f.body)), private: f.private, login: f.login,
		entity: f.entity, confirmed: time.Now(),
	}
	c.tags.put(key, *got.tag)
	return nil
}

// take makes f the answer, with the tries of the HEAD before it.
func (c *Cache) take(key tagKey, got *refreshed, f *fetched) {
	before := got.resp.Attempts
	got.manifest, got.resp = f.manifest, c.answered(key.Repository, f)
	got.resp.Attempts = append(before[:len(before):len(before)], f.attempts...)
}

// confirm records t, which an upstream has just named; nil if it was not just now.
func (c *Cache) confirm(r *fill.Registry, key tagKey, t *tag) {
	if t == nil {
		return
	}
	if content := (proofKey{key.Repository, t.digest}); c.vouched(r, content) {
		c.proved(content, t.login, false)
	}
	c.tags.put(key, *t)
}

// unrefreshed records that a refresh failed: an upstream's "no" is an answer, and
// the tag is forgotten; where nobody could say, nobody is asked for a while.
func (c *Cache) unrefreshed(r *fill.Registry, key tagKey, t *tag, err error) {
	if t == nil {
		return
	}
	switch judges := judgesOf(r, t); {
	case excusable(err, judges):
		failed := *t
		failed.failed, failed.err = time.Now(), err
		c.tags.put(key, failed)
	case takenAway(err, judges):
		if pullchain.ReasonOf(err) == pullchain.Denied { // that a tag is gone says nothing of what it meant
			c.disprovedBy(r, err, proofKey{key.Repository, t.digest})
		}
		c.tags.forget(key)
	}
}
