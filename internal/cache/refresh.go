package cache

import (
	"context"
	"slices"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
)

// A refreshed is what came of asking for a tag.
type refreshed struct {
	get      bool // with its manifest
	tag      *tag // what it means now; nil if that was not said
	resp     pullchain.Response
	manifest *manifest // when get
}

// refreshedAs returns what was found out as the answer to one of the clients that
// waited.
func (q tagQuery) refreshedAs(got refreshed, joined bool) pullchain.Response {
	resp := got.resp
	if got.manifest != nil {
		resp = q.cache.manifests.answer(q.key.Repository, got.manifest, q.req.Head)
		resp.Private, resp.Quota, resp.Attempts = resp.Private || got.resp.Private, got.resp.Quota, got.resp.Attempts
		resp.Cache = got.resp.Cache
	}
	resp.Cache = shared(resp.Cache, joined)
	return resp
}

// refresh finds out what the tag means, with as few counted requests as can be. Only
// one runs at a time for a key.
func (q tagQuery) refresh(ctx context.Context) (refreshed, error) {
	t, now := q.lastMeaning(), time.Now()
	got := refreshed{get: !q.req.Head}
	var m *manifest
	here := false // what it meant last
	switch {
	case t == nil:
	case q.req.Head:
		got.resp, here = q.meaning(ctx, t, q.cache.times.lasting)
	default:
		m = q.meant(ctx, t)
		here = m != nil
	}
	if here && q.cache.times.fresh(t.confirmed, now) && (q.req.Head || q.readable(t, q.cache.times.fresh)) { // since the caller looked
		got.tag, got.manifest, got.resp.Cache = t, m, pullchain.CacheHit
		return got, nil
	}
	// With something to fall back on no lane is asked whose gates are closed
	// (docs/architecture.md, Gates: stale goes before the forced try).
	q.req.Options.NoForce = q.req.Options.NoForce || here && q.stands(t, now)
	err := q.ask(ctx, t, m, &got)
	if err != nil {
		q.unrefreshed(t, err)
	}
	return got, err
}

// ask asks the upstreams what the tag means: by HEAD when that is what the client
// wants, or when its manifest may be here.
func (q tagQuery) ask(ctx context.Context, t *tag, m *manifest, got *refreshed) error {
	switch {
	case q.req.Head:
		return q.askForHead(ctx, t, got)
	case t != nil && m == nil && q.cache.times.fresh(t.confirmed, time.Now()):
		// A HEAD has told us its digest a moment ago: this is what it stood for then,
		// and mirrors that may not speak of tags may have it.
		return q.getChanged(ctx, t, got)
	case m == nil:
		return q.getTag(ctx, got)
	}
	if err := q.askHead(ctx, t, got); err != nil {
		return err
	}
	switch {
	case got.tag == nil:
		return q.getTag(ctx, got)
	case got.tag.digest != t.digest || !q.readable(got.tag, q.cache.times.fresh):
		return q.getChanged(ctx, got.tag, got)
	}
	q.confirm(got.tag)
	got.manifest = m
	got.resp.Cache = pullchain.CacheHit
	return nil
}

// askForHead asks for what a client's HEAD wants to know. Where the headers lack some of
// it the manifest is fetched, as the client is about to do: the next answer is here then.
func (q tagQuery) askForHead(ctx context.Context, t *tag, got *refreshed) error {
	if err := q.askHead(ctx, t, got); err != nil {
		return err
	}
	if got.tag == nil || !got.tag.complete() {
		_ = q.getTag(ctx, got) // else what the headers said is the answer
	}
	return nil
}

// askHead asks by HEAD. For a client's HEAD the answer is what the tag means from
// now on; for a GET only when it is what it meant before: else its manifest has
// yet to be fetched, and until then what is here is better than nothing.
func (q tagQuery) askHead(ctx context.Context, t *tag, got *refreshed) error {
	req := q.req
	req.Head, req.Options.HeadersOnly, req.Options.Login = true, true, q.giver(t)
	resp, err := q.registry.Next.Fetch(ctx, req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	resp.Body = pullchain.NoBody
	entity := entityOf(resp)
	if resp.Digest == "" && t != nil && entity != "" && entity == t.entity {
		resp.Digest = t.digest // the upstream that said it then says that nothing has changed
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
			got.resp.MediaType, got.resp.Size = t.mediaType, t.size
		}
	}
	if t != nil && !q.cache.access.counts(q.registry, q.content(t), yes{login: got.tag.login}) {
		q.cache.access.revokeIn(q.registry, denials(resp.Attempts), q.content(t)) // that a tag is gone says nothing of what it meant
	}
	if !got.get {
		q.confirm(got.tag)
	}
	return nil
}

// denials returns those of attempts that were denied access.
func denials(attempts []pullchain.Attempt) []pullchain.Attempt {
	return slices.DeleteFunc(slices.Clone(attempts), func(a pullchain.Attempt) bool {
		return a.Err == nil || pullchain.ReasonOf(a.Err) != pullchain.Denied
	})
}

// giver returns the login that has given what t means, where it is here and took one:
// its lane is to be asked first.
func (q tagQuery) giver(t *tag) string {
	if t == nil {
		return ""
	}
	g := q.cache.access.giversOf(q.registry, q.content(t), blobstore.Meta{})
	if g.public {
		return ""
	}
	login, _ := g.held(q.registry)
	return login
}

// getChanged fetches what t means by its digest. A mirror that has the tag may lack
// the digest (docs/protocol.md 4.8): then the tag itself is asked for.
func (q tagQuery) getChanged(ctx context.Context, t *tag, got *refreshed) error {
	if m := q.readableNow(ctx, t, q.cache.times.fresh); m != nil {
		got.manifest, got.resp.Cache = m, pullchain.CacheHit
		q.confirm(got.tag)
		return nil
	}
	byDigest := q.req
	byDigest.Digest, byDigest.Tag, byDigest.Options.Login = t.digest, "", q.giver(t)
	f, _, err := q.fetchManifest(ctx, byDigest)
	switch {
	case pullchain.ReasonOf(err) == pullchain.NotFound && err != nil:
		return q.getTag(ctx, got)
	case err != nil:
		return err
	}
	q.take(got, f)
	q.confirm(got.tag)
	return nil
}

// getTag fetches what the tag means.
func (q tagQuery) getTag(ctx context.Context, got *refreshed) error {
	f, err := q.get(ctx, q.req)
	if err != nil {
		return err
	}
	q.take(got, f)
	got.tag = &tag{
		digest: f.digest, mediaType: f.mediaType, size: int64(len(f.body)), private: f.private, login: f.login,
		entity: f.entity, confirmed: time.Now(),
	}
	q.cache.tags.put(q.key, *got.tag)
	return nil
}

// take makes f the answer, with the tries of the HEAD before it.
func (q tagQuery) take(got *refreshed, f *fetched) {
	before := got.resp.Attempts
	got.manifest, got.resp = f.manifest, q.answered(q.key.Repository, f)
	got.resp.Attempts = append(before[:len(before):len(before)], f.attempts...)
}

// confirm records t, which an upstream has just named; nil if it was not just now.
func (q tagQuery) confirm(t *tag) {
	if t == nil {
		return
	}
	if c := q.content(t); q.cache.access.had(q.registry, c) && q.cache.access.counts(q.registry, c, yes{login: t.login}) {
		q.cache.access.grant(c, t.login, false)
	}
	q.cache.tags.put(q.key, *t)
}

// unrefreshed records that a refresh failed: an upstream's "no" is an answer, and
// the tag is forgotten; where no upstream could say, none is asked for a while.
func (q tagQuery) unrefreshed(t *tag, err error) {
	if key, ok := q.companionKey(); ok && (t == nil || takenAway(err, q.judges(t))) {
		q.cache.lists.noteAbsence(key, err)
	}
	if t == nil {
		return
	}
	switch judges := q.judges(t); {
	case excusable(err, judges):
		failed := *t
		failed.failed, failed.err = time.Now(), err
		q.cache.tags.put(q.key, failed)
	case takenAway(err, judges):
		if pullchain.ReasonOf(err) == pullchain.Denied { // that a tag is gone says nothing of what it meant
			q.cache.access.revokeBy(q.registry, err, q.content(t))
		}
		q.cache.tags.forget(q.key)
	}
}
