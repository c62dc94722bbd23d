package cache

import (
	"context"
	"errors"
	"net/http"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/openfiles"
)

// blob answers a request for a blob: from the store when its bytes have been
// hashed since the start, else through a fill, which is joined or begun.
func (h *chain) blob(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	if req.Head {
		return h.blobHead(ctx, req)
	}
	c, r := h.cache, h.registry
	object, err := c.store.Open(req.Digest)
	if err != nil {
		if !errors.Is(err, blobstore.ErrNotFound) && !openfiles.Short(err) {
			c.log.Warn("stored blob cannot be opened", "digest", req.Digest, "error", err)
		}
		return c.fills.Fetch(ctx, r, req, func(private bool) error { return h.join(ctx, req, private) })
	}
	g, err := h.admit(ctx, req, object.Meta)
	if err != nil {
		object.Close()
		if err == errApart {
			return c.fills.Bypass(ctx, r, req) // a fill would take the store for its source
		}
		return pullchain.Response{}, err
	}
	if !object.Verified {
		object.Close()
		// The fill that hashes it has the store for its source, and access to that
		// has just been decided on.
		resp, err := c.fills.Fetch(ctx, r, req, func(bool) error { return nil })
		return g.markBlob(resp), err
	}
	resp, err := hit(object, req.Range)
	if err != nil {
		return pullchain.Response{}, err
	}
	return g.markBlob(resp), nil
}

// join decides whether the client that asks for req may read what is being fetched for
// another repository, or [fill.ErrApart] that it is to fetch it by itself.
func (h *chain) join(ctx context.Context, req pullchain.Request, private bool) error {
	meta := blobstore.Meta{Public: !private}
	if u, ok := h.cache.fills.Underway(req.Digest); ok && u.Private {
		meta.Logins = map[string]string{u.By.String(): u.Login}
	}
	_, err := h.admit(ctx, req, meta)
	return err
}

// blobHead answers a HEAD of a blob.
func (h *chain) blobHead(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	answer := func(size int64, private bool, result pullchain.CacheResult) pullchain.Response {
		return pullchain.Response{
			Status: http.StatusOK, Digest: req.Digest, Size: size, Body: pullchain.NoBody, Private: private, Cache: result,
		}
	}
	c, r := h.cache, h.registry
	if info, ok := c.store.Stat(req.Digest); ok {
		g, err := h.admit(ctx, req, info.Meta)
		switch {
		case err == errApart:
			return h.headThrough(ctx, req)
		case err != nil:
			return pullchain.Response{}, err
		}
		return g.mark(answer(info.Size, !info.Public, pullchain.CacheHit)), nil
	}
	if u, ok := c.fills.Underway(req.Digest); ok {
		if u.By != h.repository(req) || u.Expired(r) {
			switch err := h.join(ctx, req, u.Private); {
			case err == errApart:
				return h.headThrough(ctx, req)
			case err != nil:
				return pullchain.Response{}, err
			}
		}
		return answer(u.Size, u.Private, pullchain.CacheCoalesced), nil
	}
	return h.headThrough(ctx, req)
}

// markBlob is mark for a body, which may know of more attempts than its response.
func (g grant) markBlob(resp pullchain.Response) pullchain.Response {
	if g.attempts != nil && resp.Body != nil {
		resp.Body = admitted{resp.Body, g.attempts, resp}
		g.attempts = append(g.attempts[:len(g.attempts):len(g.attempts)], resp.Attempts...)
	}
	return g.mark(resp)
}

// admitted is a body that was served after access to it had been asked for.
type admitted struct {
	pullchain.Body
	asked []pullchain.Attempt
	resp  pullchain.Response // before that was known
}

// Attempts returns the tries to find out, and those of the body.
func (b admitted) Attempts() []pullchain.Attempt {
	return append(b.asked[:len(b.asked):len(b.asked)], b.resp.Trace()...)
}
