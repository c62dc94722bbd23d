package upstreams

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// manifestHead checks what the headers of a manifest claim. They are all there is: a
// client that has only asked for them is told of a digest which nothing has proved,
// and the GET that follows proves it.
func (a *attempt) manifestHead(resp *http.Response, out *pullchain.Response) error {
	out.Header = entityTag(resp)
	if resp.ContentLength > wire.MaxManifest {
		return a.tooLarge(wire.MaxManifest, resp.ContentLength)
	}
	claimed, err := a.digestOfHead(resp)
	if err != nil {
		return err
	}
	if a.req.Digest == "" {
		out.Digest = claimed
	}
	out.Size = sizeOfHead(resp)
	if !a.req.Options.HeadersOnly && (out.Size < 0 || out.Digest == "") {
		little := *out
		a.little = &little
		return odd(pullchain.CodeUnexpected, "HEAD does not say which manifest it is, or how long")
	}
	if a.req.Digest == "" && claimed != "" && !a.u.namesRight.Load() && a.lacks(claimed) {
		return odd(pullchain.CodeDigestMismatch, "HEAD names %s, which is not there", claimed)
	}
	a.finish(resp) // which ends the attempt: not before there is nothing more to ask
	return nil
}

// lacks asks for the manifest d, which a HEAD of a tag has named, and reports whether it is
// not there. Of an upstream that names what it has not got, such as a cache that mixes
// headers, no client can pull: the digest is all that a HEAD tells. It is one HEAD more for
// an upstream's first tag; whatever else comes of it than "not found", there is no other.
// What GET has brought last is there.
func (a *attempt) lacks(d digest.Digest) bool {
	if last := a.u.lastManifest.Load(); last != nil && *last == d {
		a.u.namesRight.Store(true)
		return false
	}
	req := a.req
	req.Tag, req.Digest = "", d
	ctx, stop := context.WithTimeout(a.ctx, lackTime)
	defer stop()
	look := &attempt{u: a.u, req: req, as: manner{head: true}}
	look.ctx, look.cancel = context.WithCancelCause(ctx)
	defer look.cancel(nil)
	if _, err := look.once(); err != nil && pullchain.ReasonOf(err) == pullchain.NotFound {
		return true
	}
	a.u.namesRight.Store(true)
	return false
}

// lackTime is how long a HEAD that was answered waits for lacks.
const lackTime = 2 * time.Second

// manifest reads the whole document and answers only for what it is. Asked for by
// digest, its bytes decide, whatever its headers say of length, encoding, type or digest;
// asked for by tag, it says itself what it is (docs/faults.md 0.1, F26-F28, GHSA-qv35).
func (a *attempt) manifest(resp *http.Response, out *pullchain.Response) error {
	raw, err := a.readAll(resp, wire.MaxManifest)
	if err != nil {
		return err
	}
	named := a.req.Digest
	if named == "" {
		named = claimedDigest(resp)
	}
	body, err := unpacked(raw, wire.MaxManifest, func(b []byte) bool {
		return named != "" && named.Algorithm().FromBytes(b) == named || named == "" && isObject(b)
	})
	if err != nil {
		return err
	}
	// By a tag the registry's own algorithm is taken, so that the digest it names and
	// ours are the same.
	algorithm := digest.Canonical
	if named != "" {
		algorithm = named.Algorithm()
	}
	out.Digest = algorithm.FromBytes(body)
	right := out.Digest == a.req.Digest
	switch {
	case !right && looksLikeHTML(body): // a portal, which says more than that the bytes are wrong
		return notRegistry("a web page instead of a manifest")
	case !right && a.req.Digest != "":
		return wrongBytes("asked for %s, got %s", a.req.Digest, out.Digest)
	case named != "" && out.Digest != named && !a.req.Options.AnyHeader: // the label or the bytes: by a tag nothing tells which
		return odd(pullchain.CodeDigestMismatch, "its header says %s, its bytes are %s", named, out.Digest)
	}
	if err := nameDocument(resp, body, right, out); err != nil {
		return err
	}
	if !a.offOrigin {
		a.u.seen.now()
	}
	served := out.Digest
	a.u.lastManifest.Store(&served)
	out.Header = entityTag(resp)
	if label := mediaType(resp); out.MediaType != label && wire.SameKind(out.MediaType, label) {
		if out.Header == nil {
			out.Header = http.Header{}
		}
		out.Header.Set("Content-Type", label) // what clients have been told by HEAD
	}
	out.Size = int64(len(body))
	out.Body = pullchain.BytesBody(body)
	return nil
}

// nameDocument says what a document is, and what it points at. Its own word outweighs
// the label. A kind that we do not know passes as it came, by a tag only where something
// names it; right says that a digest has proved it. What two readers could take for two
// things goes to none (CVE-2021-41190).
func nameDocument(resp *http.Response, body []byte, right bool, out *pullchain.Response) error {
	inside, links, err := wire.ParseManifest(mediaType(resp), body)
	if err == nil || errors.Is(err, wire.ErrMediaType) {
		if inside != mediaType(resp) {
			out.MediaType = inside
		}
		out.Links = links
		return nil
	}
	kind, ok := wire.UnknownKind(out.MediaType, body)
	if !ok || kind == "" && !right {
		return odd(pullchain.CodeWrongType, "%w", err)
	}
	if kind != "" {
		out.MediaType = kind
	}
	return nil
}

// entityTag keeps the entity tag of a manifest, by which a registry that names no
// digest in its answer to a HEAD can still be asked whether a tag has changed
// (RFC 9110 8.8.3).
func entityTag(resp *http.Response) http.Header {
	tag := resp.Header.Get("Etag")
	if tag == "" || len(tag) > maxEntityTag {
		return nil
	}
	return http.Header{"Etag": {tag}}
}

// maxEntityTag is far beyond what any registry sends: most send the digest.
const maxEntityTag = 256
