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
func (x *exchange) answer() {
	if err := x.check(); err != nil {
		x.fail(err)
		return
	}
	if x.unchanged() {
		x.setValidators()
		x.rec.WriteHeader(http.StatusNotModified)
		return
	}
	if x.req.Head {
		x.sendHeader()
		return
	}
	x.callPart()
	x.stream()
}

// callPart makes the answer to "bytes=0-" a 206, though it is all there is:
// containerd 2 opens a layer so, and takes a 200 for a server without ranges, on
// which it gives up its parallel fetch (containerd, core/remotes/docker,
// withOffsetCheck).
func (x *exchange) callPart() {
	resp := &x.resp
	if x.ranged && x.req.Range.Whole() && resp.Status == http.StatusOK && resp.Size > 0 {
		resp.Status, resp.Range = http.StatusPartialContent, pullchain.Range{To: resp.Size}
	}
}

// check catches a chain that broke its contract before a client has to.
func (x *exchange) check() error {
	resp := &x.resp
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

// sendHeader sends the status and headers of the response.
func (x *exchange) sendHeader() {
	x.setValidators()
	x.rec.setHeader("Content-Type", contentType(x.req.Op, x.resp.MediaType))
	if n := length(&x.resp); n >= 0 {
		x.rec.setHeader("Content-Length", strconv.FormatInt(n, 10))
	}
	if x.resp.Status == http.StatusPartialContent {
		x.rec.setHeader("Content-Range", wire.ContentRange{Range: x.resp.Range, Total: x.resp.Size}.String())
	}
	// A browser guesses at no manifest's type. It need not be told not to, and a
	// ninth header would cost as much as all else here: a map has room for eight
	// before it grows, and net/http copies it.
	switch x.req.Op {
	case pullchain.Blob:
		x.rec.setHeader("X-Content-Type-Options", "nosniff")
		x.rec.setHeader("Accept-Ranges", "bytes")
	case pullchain.Tags, pullchain.Referrers:
		x.rec.setHeader("X-Content-Type-Options", "nosniff")
		x.setListHeader()
	}
	x.rec.WriteHeader(x.resp.Status)
}

// setValidators sets what a 304 carries too.
func (x *exchange) setValidators() {
	x.rec.setHeader("Oci-Namespace", x.namespace())
	if x.resp.Digest != "" && (x.req.Op == pullchain.Manifest || x.req.Op == pullchain.Blob) {
		x.rec.setHeader("Docker-Content-Digest", x.resp.Digest.String())
		x.rec.setHeader("Etag", etag(x.resp.Digest))
	}
	x.setTrace()
}

// setListHeader passes on the headers of paging and filtering. The next page is
// ours to fetch: its link is made relative to the client's own path, with its ns
// (PROTOCOL.md 4.5, tags).
func (x *exchange) setListHeader() {
	from := x.resp.Header
	if filters := from.Get("OCI-Filters-Applied"); filters != "" {
		x.rec.setHeader("Oci-Filters-Applied", wire.Clip(filters))
	}
	// The base is only for links that are relative; the host is thrown away.
	base := *x.r.URL
	base.Scheme, base.Host = "http", "upstream.invalid"
	if next, ok := wire.ParseLink(from.Values("Link"), &base); ok {
		if link := wire.NextLink(x.r.URL.RequestURI(), next); link != "" {
			x.rec.setHeader("Link", link)
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
func (x *exchange) unchanged() bool {
	known := x.r.Header["If-None-Match"]
	if len(known) == 0 || x.resp.Status != http.StatusOK || x.resp.Digest == "" {
		return false
	}
	if x.req.Op != pullchain.Manifest && x.req.Op != pullchain.Blob {
		return false
	}
	want := etag(x.resp.Digest)
	for _, value := range known {
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
func length(resp *pullchain.Response) int64 {
	if resp.Status == http.StatusPartialContent {
		return resp.Range.To - resp.Range.From
	}
	return resp.Size
}

// contentType returns the type to declare. No client reads that of a blob, but a
// browser would, and the bytes are whatever was pushed.
func contentType(op pullchain.Op, mediaType string) string {
	if op == pullchain.Blob || mediaType == "" {
		return "application/octet-stream"
	}
	return mediaType
}

// stream sends the body. The headers wait for its first bytes, so that a chain
// that fails before them is still answered in words.
func (x *exchange) stream() {
	size := length(&x.resp)
	var err error
	if sections := x.resp.Body.Sections(); sections != nil {
		s := sectionSender{dst: &x.rec, src: sections, left: size, direct: x.rec.takesFiles(x.r), header: x.sendHeader}
		err = s.run()
	} else {
		c := copier{dst: &x.rec, src: x.resp.Body, left: size, header: x.sendHeader}
		err = c.run()
	}
	switch {
	case err == nil:
	case x.rec.status == 0:
		x.fail(err)
	default:
		x.err = err
		x.gone = x.clientGone() || errors.Is(err, errClient)
		x.abort(size < 0)
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
