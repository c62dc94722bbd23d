package front

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// answer sends a response that the chain gave. Only what is listed here goes out:
// an upstream's Set-Cookie, Location, WWW-Authenticate, Server and the like end
// in this function (FAULTS.md 6, outbound allow-list).
func (x *exchange) answer(resp pullchain.Response) {
	if err := x.check(resp); err != nil {
		x.fail(err)
		return
	}
	if x.unchanged(resp) {
		x.setValidators(resp)
		x.rec.WriteHeader(http.StatusNotModified)
		return
	}
	if x.req.Head {
		x.sendHeader(resp)
		return
	}
	x.stream(resp)
}

// check catches a chain that broke its contract before a client has to.
func (x *exchange) check(resp pullchain.Response) error {
	broken := func(why string) error {
		return &pullchain.Error{
			Reason: pullchain.Corrupt, Code: pullchain.CodeWrongRange, Attempts: resp.Attempts, Err: errors.New(why),
		}
	}
	switch {
	case resp.Status == http.StatusOK:
		return nil
	case resp.Status != http.StatusPartialContent:
		return broken("a status that is neither 200 nor 206")
	case !x.ranged:
		return broken("a part of what was asked for whole")
	case x.req.Range.From >= 0 && resp.Range.From != x.req.Range.From:
		return broken("another part than was asked for")
	case resp.Range.To <= resp.Range.From:
		return broken("an empty part")
	}
	return nil
}

// sendHeader sends the status and headers of resp.
func (x *exchange) sendHeader(resp pullchain.Response) {
	x.setValidators(resp)
	h := x.rec.Header()
	h.Set("Content-Type", contentType(x.req.Op, resp.MediaType))
	if n := length(resp); n >= 0 {
		h.Set("Content-Length", strconv.FormatInt(n, 10))
	}
	if resp.Status == http.StatusPartialContent {
		h.Set("Content-Range", wire.ContentRange{Range: resp.Range, Total: resp.Size}.String())
	}
	switch x.req.Op {
	case pullchain.Blob:
		h.Set("Accept-Ranges", "bytes")
	case pullchain.Tags, pullchain.Referrers:
		x.setListHeader(resp)
	}
	x.rec.WriteHeader(resp.Status)
}

// setValidators sets what a 304 carries too.
func (x *exchange) setValidators(resp pullchain.Response) {
	h := x.rec.Header()
	h.Set("OCI-Namespace", x.namespace())
	if resp.Digest != "" && (x.req.Op == pullchain.Manifest || x.req.Op == pullchain.Blob) {
		h.Set("Docker-Content-Digest", resp.Digest.String())
		h.Set("Etag", etag(resp.Digest))
	}
	x.setTrace(resp)
}

// setListHeader passes on the headers of paging and filtering. The next page is
// ours to fetch: its link is made relative to the client's own path, with its ns
// (PROTOCOL.md 4.5, tags).
func (x *exchange) setListHeader(resp pullchain.Response) {
	h := x.rec.Header()
	if filters := resp.Header.Get("OCI-Filters-Applied"); filters != "" {
		h.Set("OCI-Filters-Applied", wire.Clip(filters))
	}
	// The base is only for links that are relative; the host is thrown away.
	base := *x.r.URL
	base.Scheme, base.Host = "http", "upstream.invalid"
	if next, ok := wire.ParseLink(resp.Header.Values("Link"), &base); ok {
		if link := wire.NextLink(x.r.URL.RequestURI(), next); link != "" {
			h.Set("Link", link)
		}
	}
}

// namespace is what OCI-Namespace says: the registry that answered, in the words
// of a client that named it by ns (distribution-spec, "Registry Proxying").
func (x *exchange) namespace() string {
	if x.form == formNS {
		return x.ns
	}
	return x.req.Registry
}

// unchanged reports whether the client said that it has this content already.
func (x *exchange) unchanged(resp pullchain.Response) bool {
	if resp.Status != http.StatusOK || resp.Digest == "" {
		return false
	}
	if x.req.Op != pullchain.Manifest && x.req.Op != pullchain.Blob {
		return false
	}
	want := etag(resp.Digest)
	for _, value := range x.r.Header.Values("If-None-Match") {
		for tag := range strings.SplitSeq(value, ",") {
			if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == want || tag == "*" {
				return true
			}
		}
	}
	return false
}

// etag is the entity tag of content: its digest, which never lies.
func etag(d digest.Digest) string { return `"` + d.String() + `"` }

// length returns how many bytes the body has, or -1.
func length(resp pullchain.Response) int64 {
	if resp.Status == http.StatusPartialContent {
		return resp.Range.To - resp.Range.From
	}
	return resp.Size
}

// contentType returns the type to declare. No client reads that of a blob, but a
// browser would, and the bytes are whatever somebody pushed.
func contentType(op pullchain.Op, mediaType string) string {
	if op == pullchain.Blob || mediaType == "" {
		return "application/octet-stream"
	}
	return mediaType
}

// stream sends the body. The headers wait for its first bytes, so that a chain
// that fails before them is still answered in words.
func (x *exchange) stream(resp pullchain.Response) {
	c := copier{
		dst:    x.rec,
		src:    resp.Body,
		left:   length(resp),
		pace:   newPacer(x.rec.ResponseWriter, x.r),
		header: func() { x.sendHeader(resp) },
	}
	err := c.run()
	switch {
	case err == nil:
	case x.rec.status == 0:
		x.fail(err)
	default:
		x.err = err
		x.gone = x.clientGone() || errors.Is(err, errClient)
		x.abort(length(resp) < 0)
	}
}

// abort ends an answer that cannot be completed, so that no client takes it for
// the whole. Over HTTP/1.1 what was sent is flushed and the connection closed in
// order (FIN): containerd and podman go on from there by Range when they see a
// short body, and give up on a reset (PROTOCOL.md 4.3).
func (x *exchange) abort(untilClose bool) {
	rc := http.NewResponseController(x.rec.ResponseWriter)
	_ = rc.Flush()
	if untilClose && !x.r.ProtoAtLeast(1, 1) {
		// An HTTP/1.0 body of unknown length ends where the connection ends in
		// order: only a reset tells the client that it did not.
		if conn, _, err := rc.Hijack(); err == nil {
			reset(conn)
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// reset closes a connection with RST.
func reset(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}
