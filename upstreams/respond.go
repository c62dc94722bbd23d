package upstreams

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// respond turns an answer of 200 or 206 into a Response, or says what is wrong
// with it. On success the Response owns resp.Body.
func (a *attempt) respond(resp *http.Response) (pullchain.Response, error) {
	if mediaType(resp) == "text/html" {
		return pullchain.Response{}, corrupt(pullchain.CodeNotRegistry, "a web page instead of %s", a.req.Op)
	}
	out := pullchain.Response{
		Status:    http.StatusOK,
		MediaType: resp.Header.Get("Content-Type"),
		Digest:    a.req.Digest,
		Size:      resp.ContentLength,
		Quota:     a.quota(resp.Header, time.Now()),
		Private:   a.u.cfg.private(),
		Login:     a.u.Login(),
		Body:      pullchain.NoBody,
	}
	var err error
	switch {
	case a.req.Op == pullchain.Blob:
		err = a.blob(resp, &out)
	case resp.StatusCode != http.StatusOK:
		err = corrupt(pullchain.CodeUnexpected, "HTTP %d for a %s", resp.StatusCode, a.req.Op)
	case a.req.Op == pullchain.Manifest && a.req.Head:
		err = a.manifestHead(resp, &out)
	case a.req.Op == pullchain.Manifest:
		err = a.manifest(resp, &out)
	default:
		err = a.list(resp, &out)
	}
	return out, err
}

// manifestHead checks what the headers of a manifest claim. They are all there is: a
// client that has only asked for them is told of a digest which nothing has proved,
// and the GET that follows proves it.
func (a *attempt) manifestHead(resp *http.Response, out *pullchain.Response) error {
	defer a.finish(resp)
	out.Header = entityTag(resp)
	if resp.ContentLength > wire.MaxManifest {
		return a.tooLarge(wire.MaxManifest, resp.ContentLength)
	}
	if resp.Header.Get("Content-Encoding") != "" {
		out.Size = -1 // the length is that of the encoded body
	}
	claimed, err := claimedDigest(resp)
	if err != nil {
		return err
	}
	if !wire.IsManifestType(mediaType(resp)) {
		return oddDocument(claimed != "", "manifest of type %s", wire.Quote(out.MediaType))
	}
	if claimed == "" {
		return nil
	}
	if a.req.Digest != "" && claimed.Algorithm() == a.req.Digest.Algorithm() && claimed != a.req.Digest {
		return corrupt(pullchain.CodeDigestMismatch, "asked for %s, offered %s", a.req.Digest, claimed)
	}
	if a.req.Digest == "" {
		out.Digest = claimed
	}
	return nil
}

// manifest reads the whole document and answers only for bytes that hash to
// what was asked for. What the upstream says of the digest and the type is
// compared, never believed (docs/faults.md F26-F28, GHSA-qv35).
func (a *attempt) manifest(resp *http.Response, out *pullchain.Response) error {
	body, err := a.readAll(resp, wire.MaxManifest)
	if err != nil {
		return err
	}
	// Before the digest: a page in the place of a manifest is a portal, and says more
	// than that the bytes are wrong.
	if looksLikeHTML(body) {
		return corrupt(pullchain.CodeNotRegistry, "a web page instead of a manifest")
	}
	claimed, err := claimedDigest(resp)
	if err != nil {
		return err
	}
	want, algorithm := a.req.Digest, digest.Canonical
	// By a tag the registry's own algorithm is taken, so that the digest it names and
	// ours are the same.
	switch {
	case want != "":
		algorithm = want.Algorithm()
	case claimed != "":
		algorithm = claimed.Algorithm()
	}
	out.Digest = algorithm.FromBytes(body)
	if want != "" && out.Digest != want {
		return corrupt(pullchain.CodeDigestMismatch, "asked for %s, got %s", want, out.Digest)
	}
	if claimed != "" && claimed.Algorithm() == algorithm && claimed != out.Digest {
		return corrupt(pullchain.CodeDigestMismatch, "its header says %s, its bytes are %s", claimed, out.Digest)
	}
	inside, links, err := wire.ParseManifest(mediaType(resp), body)
	if err != nil && !errors.Is(err, wire.ErrMediaType) {
		return oddDocument(want != "" || claimed != "", "%w", err)
	}
	if err != nil || !wire.IsManifestType(mediaType(resp)) {
		// The bytes are proved right by the digest that was asked for; only the
		// label is wrong, and the document carries its own (F27).
		if want == "" || !wire.IsManifestType(inside) {
			return oddDocument(want != "" || claimed != "", "manifest of type %s", wire.Quote(out.MediaType))
		}
		out.MediaType = inside
	}
	out.Header = entityTag(resp)
	out.Links = links
	out.Size = int64(len(body))
	out.Body = pullchain.BytesBody(body)
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

// oddDocument refuses a manifest for what it says or how it is labelled. Where a
// digest names the bytes it is the image that is odd and not the upstream: else a
// user that can push an image could take its registry out of service.
func oddDocument(named bool, format string, args ...any) error {
	e := &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeWrongType, Err: fmt.Errorf(format, args...)}
	if named {
		e.Reach = pullchain.ReachRequest
	}
	return e
}

// list reads a page of tags or referrers. No digest proves it, so of its headers only
// those of the specification go on: where the next page is, and which filters count.
func (a *attempt) list(resp *http.Response, out *pullchain.Response) error {
	limit := int64(wire.MaxTags)
	if a.req.Op == pullchain.Referrers {
		limit = wire.MaxManifest
	}
	out.Digest = "" // the digest asked for is that of the subject
	out.Header = http.Header{}
	for _, name := range []string{"Link", "OCI-Filters-Applied"} {
		if values := resp.Header.Values(name); len(values) > 0 {
			out.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	if a.req.Head {
		a.finish(resp)
		return nil
	}
	body, err := a.readAll(resp, limit)
	if err != nil {
		return err
	}
	if text := bytes.TrimSpace(body); len(text) == 0 || text[0] != '{' {
		return corrupt(pullchain.CodeNotRegistry, "a %s list that is no JSON object", a.req.Op)
	}
	out.Size = int64(len(body))
	out.Body = pullchain.BytesBody(body)
	return nil
}

// readAll reads a body that must fit into limit bytes, giving up when it stalls. The
// declared length is looked at first, so that nothing of what is too large is read.
func (a *attempt) readAll(resp *http.Response, limit int64) ([]byte, error) {
	defer a.finish(resp)
	if resp.ContentLength > limit {
		return nil, a.tooLarge(limit, resp.ContentLength)
	}
	body, err := decoded(resp, a.stream(resp))
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, a.tooLarge(limit, int64(len(content)))
	}
	return content, nil
}

// finish frees the connection of an answer that has been read.
func (a *attempt) finish(resp *http.Response) {
	discard(resp)
	a.cancel(nil)
}

// claimedDigest returns the Docker-Content-Digest of an answer, or "". It is checked
// strictly, for paths and requests are built from digests (CVE-2024-3727).
func claimedDigest(resp *http.Response) (digest.Digest, error) {
	value := resp.Header.Get("Docker-Content-Digest")
	if value == "" {
		return "", nil
	}
	d, err := wire.CheckDigest(value)
	if err != nil {
		return "", &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeDigestMismatch, Err: err}
	}
	return d, nil
}

// mediaType returns the Content-Type without parameters, in lower case. One that does
// not parse is cut at its first parameter: registries send odd ones, and the document
// says itself what it is.
func mediaType(resp *http.Response) string {
	t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		t, _, _ = strings.Cut(resp.Header.Get("Content-Type"), ";")
	}
	return strings.ToLower(strings.TrimSpace(t))
}

// looksLikeHTML reports whether body can be no manifest, as it begins like a page. A
// captive portal may label it as it was asked to (docs/faults.md F26).
func looksLikeHTML(body []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n\uFEFF"), []byte("<"))
}

// corrupt is an answer that is not what was asked for. What it is held against is for
// its Code and Reach to say.
func corrupt(code pullchain.Code, format string, args ...any) error {
	return &pullchain.Error{Reason: pullchain.Corrupt, Code: code, Err: fmt.Errorf(format, args...)}
}

// errTooLarge is a manifest or list beyond its limit.
var errTooLarge = errors.New("larger than pullchain accepts")

// tooLarge refuses one document. It says nothing of the upstream's others, so
// no gate is closed for it (docs/faults.md F25).
func (a *attempt) tooLarge(limit, size int64) error {
	return &pullchain.Error{
		Reason: pullchain.Refused, Code: pullchain.CodeTooLarge, Reach: pullchain.ReachRequest,
		Err: fmt.Errorf("%s exceeds %d bytes (%d or more): %w", a.req.Op, limit, size, errTooLarge),
	}
}
