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

// respond turns an answer below 300 into a Response, or says what is wrong with it. On
// success the Response owns resp.Body.
func (a *attempt) respond(resp *http.Response) (pullchain.Response, error) {
	out := pullchain.Response{
		Status:    http.StatusOK,
		MediaType: wire.CanonicalType(resp.Header.Get("Content-Type")),
		Digest:    a.req.Digest,
		Size:      resp.ContentLength,
		Quota:     a.quota(resp.Header, time.Now()),
		Private:   a.u.cfg.private(),
		Login:     a.u.Login(),
		Body:      pullchain.NoBody,
	}
	if a.u.passes(a.req) {
		out.Private, out.Login = true, a.req.Holder()
	}
	var err error
	switch {
	case !carriesContent(resp.StatusCode): // a 204 would pass for an empty blob, or for a proof of access
		err = odd(pullchain.CodeUnexpected, "HTTP %d for a %s", resp.StatusCode, a.req.Op)
	case a.as.head && isVague(resp, a.req.Op):
		err = odd(pullchain.CodeWrongType, "HEAD says %s", wire.Quote(out.MediaType))
	case a.req.Op == pullchain.Blob:
		err = a.blob(resp, &out)
	case a.req.Op == pullchain.Manifest && a.as.head:
		err = a.manifestHead(resp, &out)
	case a.req.Op == pullchain.Manifest:
		err = a.manifest(resp, &out)
	default:
		err = a.list(resp, &out)
	}
	if err == nil && a.req.Head && !a.as.head { // a GET in its place
		out.Body.Close()
		out.Body, out.Links = pullchain.NoBody, nil
	}
	return out, err
}

// carriesContent reports whether an answer's body is what was asked for. Whether it is
// the whole or a part is for its headers and its length to tell, and for a digest: some
// caches answer 206 to whatever they are asked, and 203 is what a proxy makes of 200
// that it has changed something of (RFC 9110 15.3.4).
func carriesContent(status int) bool {
	return status == http.StatusOK || status == http.StatusNonAuthoritativeInfo || status == http.StatusPartialContent
}

// isVague reports whether the headers alone do not say what is there, so that only the
// document can: a manifest under a label that is no manifest's, a web page in the place
// of anything, a part of a blob where no part was asked for.
func isVague(resp *http.Response, op pullchain.Op) bool {
	if op == pullchain.Manifest && wire.IsVagueType(resp.Header.Get("Content-Type")) {
		return true
	}
	return mediaType(resp) == "text/html" || resp.StatusCode != http.StatusOK
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
	if a.as.head {
		a.finish(resp)
		return nil
	}
	raw, err := a.readAll(resp, limit)
	if err != nil {
		return err
	}
	body, err := unpacked(raw, limit, func(b []byte) bool { return isObject(b) })
	if err != nil {
		return err
	}
	if !isObject(body) {
		return a.noList(resp)
	}
	if mediaType(resp) == "text/html" {
		out.MediaType = accept(a.req) // it is one all the same, and no page for a browser
	}
	out.Size = int64(len(body))
	out.Body = pullchain.BytesBody(body)
	return nil
}

// noList is what it means that something else came for a list: of tags, that no registry
// has answered; of referrers, that there is no such API here.
func (a *attempt) noList(resp *http.Response) error {
	if a.req.Op == pullchain.Referrers {
		return &pullchain.Error{
			Reason: pullchain.NotFound, Code: pullchain.CodeNotRegistry, Status: resp.StatusCode, Reach: pullchain.ReachRequest,
			Err: errNoReferrers,
		}
	}
	return notRegistry("a %s list that is no JSON object", a.req.Op)
}

var errNoReferrers = errors.New("a referrers list that is no JSON object")

func isObject(body []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) }

// readAll reads a body that must fit into limit bytes, giving up when it stalls. The
// declared length is looked at first, so that nothing of what is too large is read.
func (a *attempt) readAll(resp *http.Response, limit int64) ([]byte, error) {
	defer a.finish(resp)
	if resp.ContentLength > limit {
		return nil, a.tooLarge(limit, resp.ContentLength)
	}
	content, err := io.ReadAll(io.LimitReader(a.stream(resp), limit+1))
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
// strictly, for paths and requests are built from digests (CVE-2024-3727); one that is
// none names nothing.
func claimedDigest(resp *http.Response) digest.Digest {
	d, err := wire.CheckDigest(resp.Header.Get("Docker-Content-Digest"))
	if err != nil {
		return ""
	}
	return d
}

// digestOfHead returns the digest that the answer to a HEAD claims, or "", and an error where
// it is another than the one that was asked for. Only GET can tell which is right.
func (a *attempt) digestOfHead(resp *http.Response) (digest.Digest, error) {
	claimed, asked := claimedDigest(resp), a.req.Digest
	if asked == "" || claimed == "" || claimed.Algorithm() != asked.Algorithm() || claimed == asked {
		return claimed, nil
	}
	return "", odd(pullchain.CodeDigestMismatch, "asked for %s, offered %s", asked, claimed)
}

// sizeOfHead returns how long the thing is of which an answer to HEAD tells, or -1: the
// length of a packed body is not that of what GET unpacks, and functions at the edge say
// 0 of a body that they have dropped (docs/protocol.md 4.8).
func sizeOfHead(resp *http.Response) int64 {
	if saysGzip(resp) || resp.ContentLength == 0 {
		return -1
	}
	return resp.ContentLength
}

// isEmpty reports whether d is the digest of no bytes at all.
func isEmpty(d digest.Digest) bool { return d.Algorithm().FromBytes(nil) == d }

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

// odd is an answer whose label, status or range is not what was asked for. It judges the
// one request: what is labelled oddly may be one image alone, or a proxy's whim.
func odd(code pullchain.Code, format string, args ...any) error {
	return corrupt(pullchain.ReachRequest, code, format, args...)
}

// notRegistry is a page in the place of what was asked for. It judges the one request:
// whether a registry is there at all, the probe finds out.
func notRegistry(format string, args ...any) error {
	return corrupt(pullchain.ReachRequest, pullchain.CodeNotRegistry, format, args...)
}

// wrongBytes is content that is not what its digest says. It is evidence of this content
// on this upstream: one file may be wrong in its storage, and all others right.
func wrongBytes(format string, args ...any) error {
	return corrupt(pullchain.ReachContent, pullchain.CodeDigestMismatch, format, args...)
}

func corrupt(reach pullchain.Reach, code pullchain.Code, format string, args ...any) error {
	return &pullchain.Error{Reason: pullchain.Corrupt, Code: code, Reach: reach, Err: fmt.Errorf(format, args...)}
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
