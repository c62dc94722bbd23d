package cache

import (
	"context"
	"net/http"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/fill"
	"github.com/pullchain/pullchain/internal/lapse"
	"github.com/pullchain/pullchain/internal/wire"
)

// A tagQuery is one client's question of what a tag means.
type tagQuery struct {
	*chain
	key tagKey
	req pullchain.Request
}

// byTag answers a request for a manifest by a tag: what it meant within tag_ttl,
// what an upstream says it means, or what it meant last when no upstream can say.
func (h *chain) byTag(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	q := tagQuery{h, tagKey{h.repository(req), req.Tag, wire.AcceptsOf(req.Accept)}, req}
	if resp, ok := q.known(ctx); ok {
		return resp, nil
	}
	q.req.Accept = q.key.accept.Question(req.Accept)
	return q.answer(ctx)
}

// A refreshKey is a tag that is being asked for.
type refreshKey struct {
	chain *fill.Registry // after a reload the next may not have the login of the last
	tagKey
	alone bool // apart from other clients, that ask by HEAD all the time
}

// answer answers by asking upstream, or by waiting for another client's question.
// Only one is asked at a time; a GET that has waited for others' HEADs in vain has
// its turn in the end.
func (q tagQuery) answer(ctx context.Context) (pullchain.Response, error) {
	const rounds = 3
	for round := 1; ; round++ {
		key := refreshKey{q.registry, q.key, round > rounds}
		got, joined, err := q.cache.refreshes.do(ctx, key, q.refresh)
		if joined && !got.get && !q.req.Head && ctx.Err() == nil {
			if resp, ok := q.known(ctx); ok {
				return resp, nil
			}
			continue
		}
		if err != nil {
			return q.fallback(ctx, q.lastMeaning(), err)
		}
		return q.refreshedAs(got, joined), nil
	}
}

// lastMeaning returns what is known of the tag, or nil. What a login was told that
// is gone from the configuration is nothing.
func (q tagQuery) lastMeaning() *tag {
	t := q.cache.tags.find(q.key)
	if t != nil && t.private && !q.registry.StandsFor(q.key.Holder, t.login) {
		return nil
	}
	return t
}

// known returns the answer that no upstream has to be asked for: what is known of
// the tag is fresh, or it has just been found out that no upstream can say.
func (q tagQuery) known(ctx context.Context) (pullchain.Response, bool) {
	t := q.lastMeaning()
	if t == nil {
		return pullchain.Response{}, false
	}
	now := time.Now()
	if q.cache.times.fresh(t.confirmed, now) {
		resp, ok := q.meaning(ctx, t, q.cache.times.fresh)
		resp.Age = lapse.Age(t.confirmed, now)
		return resp, ok
	}
	if t.err == nil || now.Sub(t.failed) >= refreshPause {
		return pullchain.Response{}, false
	}
	resp, err := q.fallback(ctx, t, t.err)
	return resp, err == nil
}

// meaning returns what t means, as far as it is here. Access to what took a login has
// to have been proved in a time that passes for recent, where the login of t has not.
func (q tagQuery) meaning(ctx context.Context, t *tag, recent func(at, now time.Time) bool) (pullchain.Response, bool) {
	if q.req.Head && t.complete() {
		return pullchain.Response{
			Status: http.StatusOK, MediaType: t.mediaType, Digest: t.digest, Size: t.size,
			Body: pullchain.NoBody, Private: t.private, Cache: pullchain.CacheHit,
		}, true
	}
	m := q.readableNow(ctx, t, recent)
	if m == nil {
		return pullchain.Response{}, false
	}
	return q.cache.manifests.answer(q.key.Repository, m, q.req.Head), true
}

// meant returns the manifest that t means, if it is here and the repository has
// had it before.
func (q tagQuery) meant(ctx context.Context, t *tag) *manifest {
	if !q.cache.access.had(q.registry, q.content(t)) {
		return nil
	}
	return q.cache.manifests.find(ctx, t.digest)
}

// readable reports whether the repository may read what t means: on the word of the
// login that named it, or because access to it was proved in a time that passes for
// recent. That a mirror names it is no leave to read what took a login.
func (q tagQuery) readable(t *tag, recent func(at, now time.Time) bool) bool {
	now := time.Now()
	return q.cache.access.readable(q.registry, q.content(t), yes{login: t.login}, func(at time.Time) bool { return recent(at, now) })
}

// readableNow returns the manifest that t means, if it is here and readable.
func (q tagQuery) readableNow(ctx context.Context, t *tag, recent func(at, now time.Time) bool) *manifest {
	if !q.readable(t, recent) {
		return nil
	}
	return q.cache.manifests.find(ctx, t.digest)
}

// content is what t means, as the tag's repository has it.
func (q tagQuery) content(t *tag) proofKey { return proofKey{q.key.Repository, t.digest} }

// fallback answers with what t meant, if err allows it; else the answer is err.
func (q tagQuery) fallback(ctx context.Context, t *tag, err error) (pullchain.Response, error) {
	now := time.Now()
	if t == nil {
		return pullchain.Response{}, q.noCompanion(err)
	}
	if !excusable(err, q.judges(t)) || !q.stands(t, now) {
		return pullchain.Response{}, err
	}
	resp, ok := q.meaning(ctx, t, q.cache.times.lasting)
	if !ok {
		return pullchain.Response{}, err
	}
	resp.Cache, resp.Age, resp.Attempts = pullchain.CacheStale, lapse.Age(t.confirmed, now), attemptsOf(err)
	return resp, nil
}

// judges returns which upstreams can say that t is not there, or not for us; nil for
// a public tag, of which only the final error over all attempts counts.
func (q tagQuery) judges(t *tag) func(upstream string) bool {
	if !t.private {
		return nil
	}
	return judges(q.registry, t.login)
}

// stands reports whether t may be served when no upstream can say what it means now.
func (q tagQuery) stands(t *tag, now time.Time) bool {
	return q.cache.times.lasting(t.confirmed, now) && q.key.Holder == "" && (!t.private || !q.cache.access.revoked(q.content(t), t.confirmed))
}
