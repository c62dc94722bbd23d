package cache

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
	"github.com/pullchain/pullchain/internal/wire"
)

// byDigest answers a request for a manifest by its digest: for ever from here,
// once it is here and the repository may read it.
func (h *chain) byDigest(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	c := h.cache
	m := c.manifests.find(ctx, req.Digest)
	if m == nil && req.Head {
		return h.headThrough(ctx, req)
	}
	if m != nil {
		g, err := h.admit(ctx, req, m.meta)
		if err != nil {
			return pullchain.Response{}, err
		}
		return g.mark(c.manifests.answer(h.repository(req), m, req.Head)), nil
	}
	f, joined, err := h.fetchManifest(ctx, req)
	if err != nil {
		return pullchain.Response{}, err
	}
	resp := h.answered(h.repository(req), f)
	resp.Cache = shared(resp.Cache, joined)
	return resp, nil
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

// answered returns f as the answer to a GET for a repository.
func (h *chain) answered(by fill.Repository, f *fetched) pullchain.Response {
	resp := h.cache.manifests.answer(by, f.manifest, false)
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

// fetchManifest fetches and keeps the manifest req.Digest, once for all that ask
// for it in the same repository.
func (h *chain) fetchManifest(ctx context.Context, req pullchain.Request) (*fetched, bool, error) {
	key := fetchKey{h.registry, proofKey{h.repository(req), req.Digest}, req.Options.NoForce}
	forcing := key
	forcing.noForce = false
	return h.cache.fetches.do(ctx, key, func(ctx context.Context) (*fetched, error) {
		// What a digest stands for does not depend on what the first of several
		// clients accepts; whether the registry has it may.
		return h.get(ctx, pullchain.Request{
			Op: pullchain.Manifest, Registry: h.registry.Name, Repo: req.Repo, Digest: req.Digest, Bearer: req.Bearer, Options: req.Options,
		})
	}, forcing)
}

// get fetches and keeps the manifest that req names by digest or tag.
func (h *chain) get(ctx context.Context, req pullchain.Request) (*fetched, error) {
	c, by := h.cache, h.repository(req)
	req.Head = false
	resp, err := h.registry.Next.Fetch(ctx, req)
	if err != nil {
		if req.Digest != "" {
			c.access.revokeBy(h.registry, err, proofKey{by, req.Digest})
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
	d := cmp.Or(req.Digest, resp.Digest)
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
	m.label = resp.Header.Get("Content-Type")
	if wire.IsVagueType(meta.MediaType) { // a layer that was asked for as a manifest is none after a restart
		m.meta.MediaType = ""
	}
	f := &fetched{manifest: m, private: resp.Private, login: fill.LoginOf(resp), quota: resp.Quota, attempts: resp.Attempts, entity: entityOf(resp)}
	f.kept = c.manifests.keep(m)
	c.access.grant(proofKey{by, d}, f.login, !resp.Private)
	return f, nil
}

var errTooLarge = errors.New("the manifest is larger than pullchain accepts")
