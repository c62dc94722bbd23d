package cache

import (
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/fill"
	"github.com/pullchain/pullchain/internal/lapse"
)

// Lists of tags and of referrers are kept as tags are: believed for tag_ttl, and served for
// stale_if_error where no upstream can say. So what was verified once can be verified again
// with every upstream down, its absences too (docs/faults.md F71).

// A listAsked is a list that is being asked for; see [headKey].
type listAsked struct {
	chain *fill.Registry
	listKey
	noForce bool
}

// A listed is what came of asking for a list.
type listed struct {
	list     *list
	attempts []pullchain.Attempt
}

// list answers a request for a page of a list.
func (h *chain) list(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	c := h.cache
	if req.Head || req.Bearer != "" { // no client of ours is known to ask so; what a client's own login is told is kept for no other
		resp, err := h.registry.Next.Fetch(ctx, req)
		resp.Cache = pullchain.CacheBypass
		return resp, err
	}
	key := listKey{Repository: h.repository(req), op: req.Op, digest: req.Digest, query: req.Query}
	l, now := h.lastList(key), time.Now()
	switch {
	case l == nil:
	case !l.None && c.times.fresh(l.Confirmed, now):
		return l.response(pullchain.CacheHit, now, nil), nil
	case l.err != nil && now.Sub(l.failed) < refreshPause && h.stillServed(l, l.err, now):
		return h.stale(l, l.err, now)
	}
	req.Options.NoForce = req.Options.NoForce || l != nil && c.times.lasting(l.Confirmed, now)
	own, forcing := listAsked{h.registry, key, req.Options.NoForce}, listAsked{h.registry, key, false}
	got, joined, err := c.listings.do(ctx, own, func(ctx context.Context) (listed, error) { return h.askList(ctx, key, req) }, forcing)
	if err == nil {
		resp := got.list.response(shared(pullchain.CacheMiss, joined), got.list.Confirmed, got.attempts)
		return resp, nil
	}
	if l == nil || !h.stillServed(l, err, now) {
		return pullchain.Response{}, err
	}
	if newest, ok := c.lists.known.GetIfPresent(key); ok && newest == l {
		failed := *l
		failed.failed, failed.err = now, err
		c.lists.known.Set(key, &failed)
	}
	return h.stale(l, err, now)
}

// askList asks the upstreams for a list, and keeps what they say.
func (h *chain) askList(ctx context.Context, key listKey, req pullchain.Request) (listed, error) {
	c := h.cache
	resp, err := h.registry.Next.Fetch(ctx, req)
	if err != nil {
		// What is still served as it was is not gone: a mirror that lacks it has no say.
		if l := h.lastList(key); l == nil || l.None || takenAway(err, h.judgesOf(l)) {
			if l != nil && !l.None {
				c.lists.forget(key)
			}
			c.lists.noteAbsence(key, err)
		}
		return listed{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body) // of a size that an upstream's room has bounded
	if err != nil {
		return listed{}, fill.AsError(err)
	}
	l := &list{
		Body: body, MediaType: resp.MediaType, Header: resp.Header, Status: resp.Status,
		Private: resp.Private, Login: fill.LoginOf(resp), Confirmed: time.Now(),
	}
	c.lists.put(key, l)
	return listed{l, resp.Trace()}, nil
}

// lastList returns what is known of a list, or nil. What a login was told that is gone from the
// configuration is nothing.
func (h *chain) lastList(key listKey) *list {
	l := h.cache.lists.find(key)
	if l != nil && l.Private && !h.registry.Stands(l.Login) {
		return nil
	}
	return l
}

// judgesOf returns which upstreams can say that l is not there, or not for us; see [excusable].
func (h *chain) judgesOf(l *list) func(upstream string) bool {
	if !l.Private {
		return nil
	}
	return judges(h.registry, l.Login)
}

// stillServed reports whether l is served where err is all that upstreams say.
func (h *chain) stillServed(l *list, err error, now time.Time) bool {
	return h.cache.times.lasting(l.Confirmed, now) && excusable(err, h.judgesOf(l))
}

// stale answers with what was so once, where no upstream can say: for err.
func (h *chain) stale(l *list, err error, now time.Time) (pullchain.Response, error) {
	if l.None {
		return pullchain.Response{}, absent(err)
	}
	return l.response(pullchain.CacheStale, now, attemptsOf(err)), nil
}

// absent says that there is nothing, on the word of an upstream that was asked when one
// could be: for err none can be now.
func absent(err error) error {
	return &pullchain.Error{
		Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Status: http.StatusNotFound, Attempts: attemptsOf(err), Err: errAbsent,
	}
}

var errAbsent = errors.New("there was none when an upstream could say")

// response returns l as an answer.
func (l *list) response(result pullchain.CacheResult, now time.Time, attempts []pullchain.Attempt) pullchain.Response {
	return pullchain.Response{
		Status: l.Status, MediaType: l.MediaType, Header: l.Header.Clone(), Size: int64(len(l.Body)), Body: pullchain.BytesBody(l.Body),
		Private: l.Private, Cache: result, Age: lapse.Age(l.Confirmed, now), Attempts: attempts,
	}
}

// companion is how tags are called in which goes what belongs to an image: of cosign
// (sha256-….sig, .att, .sbom), and of the referrers of a registry that has no API for them
// (distribution-spec, "Referrers Tag Schema").
var companion = regexp.MustCompile(`^sha(256-[0-9a-f]{64}|512-[0-9a-f]{128})(\.[a-z]+)?$`)

// noteAbsence remembers that there is no such list, or no such companion of an image: as a
// rule there is none, and a client that verifies has to be told so again.
func (lt *listTable) noteAbsence(key listKey, err error) {
	if pullchain.ReasonOf(err) != pullchain.NotFound || key.op == pullchain.Tags {
		return
	}
	lt.put(key, &list{None: true, Status: http.StatusNotFound, Confirmed: time.Now()})
}

// companionKey returns under which key the absence of a tag is remembered; ok is false for
// a tag of which it is not.
func (q tagQuery) companionKey() (key listKey, ok bool) {
	return listKey{Repository: q.key.Repository, op: pullchain.Manifest, tag: q.key.tag}, q.key.Holder == "" && companion.MatchString(q.key.tag)
}

// noCompanion returns the answer to a question for a companion of an image that there was
// not: err where it may be there now.
func (q tagQuery) noCompanion(err error) error {
	key, ok := q.companionKey()
	if !ok || !excusable(err, nil) {
		return err
	}
	if l := q.cache.lists.find(key); l == nil || !l.None || !q.cache.times.lasting(l.Confirmed, time.Now()) {
		return err
	}
	return absent(err)
}
