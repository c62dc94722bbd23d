package front

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// An answer is what goes out when the chain gave a response; what goes out when it
// failed is a [problem].
type answer struct{ *exchange }

// write sends the response. Only what is listed here goes out: an upstream's
// Set-Cookie, Location, WWW-Authenticate, Server and the like end in this function
// (docs/faults.md 6, outbound allow-list).
func (a answer) write() {
	if err := a.check(); err != nil {
		a.fail(err)
		return
	}
	if a.unchanged() {
		a.setValidators()
		a.rec.WriteHeader(http.StatusNotModified)
		return
	}
	if a.req.Head {
		a.sendHeader()
		return
	}
	if a.req.Op == pullchain.Manifest {
		if err := a.cutManifest(); err != nil {
			a.fail(err)
			return
		}
	}
	a.callPart()
	a.stream()
}

// cutManifest makes the answer to a range of a manifest the part that was asked for.
// A manifest is at hand as a whole, and no chain is asked for a part of one. containerd
// 2 sends "bytes=0-" with manifests too when it fetches in parallel, and logs of a
// 200 that the host ignores ranges (core/remotes/docker, fetcher.go: withOffsetCheck);
// it decides so for each descriptor alone, so that its layers are parallel either way.
// Several ranges of a manifest are the whole.
func (a answer) cutManifest() error {
	resp := &a.resp
	ranges := a.wantedRanges(resp.Digest)
	if len(ranges) != 1 || resp.Status != http.StatusOK || resp.Size < 0 {
		return nil
	}
	part, ok := wire.ResolveRange(ranges[0], resp.Size)
	if !ok {
		return &pullchain.Error{
			Reason: pullchain.Invalid, Code: pullchain.CodeWrongRange, Status: http.StatusRequestedRangeNotSatisfiable, Size: resp.Size,
		}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxManifest))
	switch {
	case err != nil:
		return err
	case int64(len(body)) != resp.Size:
		return wrongSize("another size than was declared")
	}
	a.req.Range, a.ranged = ranges[0], true
	resp.Status, resp.Range, resp.Body = http.StatusPartialContent, part, pullchain.BytesBody(body[part.From:part.To])
	return nil
}

// callPart makes the answer to "bytes=0-" a 206, though it is all there is:
// containerd 2 opens a layer so, and takes a 200 for a server without ranges, on
// which it gives up its parallel fetch (containerd, core/remotes/docker,
// withOffsetCheck).
func (a answer) callPart() {
	resp := &a.resp
	if a.ranged && a.req.Range.Whole() && resp.Status == http.StatusOK && resp.Size > 0 {
		resp.Status, resp.Range = http.StatusPartialContent, pullchain.Range{To: resp.Size}
	}
}

// check catches a chain that broke its contract before a client has to.
func (a answer) check() error {
	resp := &a.resp
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
	case !a.ranged:
		return broken("a part of what was asked for whole")
	case a.req.Range.From >= 0 && resp.Range.From != a.req.Range.From:
		return broken("another part than was asked for")
	case resp.Range.To <= resp.Range.From:
		return broken("an empty part")
	}
	return nil
}

// sendHeader sends the status and headers of the response.
func (a answer) sendHeader() {
	a.setValidators()
	a.rec.setHeader("Content-Type", contentType(a.req, a.resp.MediaType, header(a.resp.Header, "Content-Type")))
	if n := length(&a.resp); n >= 0 {
		a.rec.setHeader("Content-Length", strconv.FormatInt(n, 10))
	}
	if a.resp.Status == http.StatusPartialContent {
		a.rec.setHeader("Content-Range", wire.ContentRange{Range: a.resp.Range, Total: a.resp.Size}.String())
	}
	// A browser guesses at no manifest's type. It need not be told not to, and a
	// ninth header would cost as much as all else here: a map has room for eight
	// before it grows, and net/http copies it.
	switch a.req.Op {
	case pullchain.Blob:
		a.rec.setHeader("X-Content-Type-Options", "nosniff")
		a.rec.setHeader("Accept-Ranges", "bytes")
	case pullchain.Tags, pullchain.Referrers:
		a.rec.setHeader("X-Content-Type-Options", "nosniff")
		a.setListHeader()
	}
	a.rec.WriteHeader(a.resp.Status)
}

// setValidators sets what a 304 carries too.
func (a answer) setValidators() {
	a.rec.setHeader("Oci-Namespace", a.namespace())
	if a.resp.Digest != "" && (a.req.Op == pullchain.Manifest || a.req.Op == pullchain.Blob) {
		a.rec.setHeader("Docker-Content-Digest", a.resp.Digest.String())
		a.rec.setHeader("Etag", etag(a.resp.Digest))
	}
	a.setCaching()
	a.setTrace()
}

// setListHeader passes on the headers of paging and filtering. The next page is
// ours to fetch: its link is made relative to the client's own path, with its ns
// (docs/protocol.md 4.5, tags).
func (a answer) setListHeader() {
	from := a.resp.Header
	if filters := from.Get("OCI-Filters-Applied"); filters != "" {
		a.rec.setHeader("Oci-Filters-Applied", wire.Clip(filters))
	}
	// The base is only for links that are relative; the host is thrown away.
	base := *a.r.URL
	base.Scheme, base.Host = "http", "the-upstream.invalid"
	if next, ok := wire.ParseLink(from.Values("Link"), &base); ok {
		if link := wire.NextLink(a.r.URL.RequestURI(), next); link != "" {
			a.h.cursors.learn(a.req.Registry, next)
			a.rec.setHeader("Link", link)
		}
	}
}

// unchanged reports whether the client said that it has this content already.
func (a answer) unchanged() bool {
	known := a.r.Header["If-None-Match"]
	if len(known) == 0 || a.resp.Status != http.StatusOK || a.resp.Digest == "" {
		return false
	}
	if a.req.Op != pullchain.Manifest && a.req.Op != pullchain.Blob {
		return false
	}
	want := etag(a.resp.Digest)
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
//
// A client that takes one type alone has been told of it, where the upstream labels so:
// old proxies label OCI's documents as Docker's, HEAD says so, and oras wants GET to say
// the same (oras-go, registry/remote, manifestStore.Fetch).
func contentType(req pullchain.Request, mediaType, label string) string {
	switch {
	case req.Op == pullchain.Tags: // no digest proves a list, and its upstream may echo what it was sent
		return "application/json"
	case req.Op == pullchain.Referrers:
		return wire.TypeOCIIndex
	case req.Op == pullchain.Blob || mediaType == "":
		return "application/octet-stream"
	case label != "" && len(req.Accept) == 1 && req.Accept[0] == label:
		return label
	}
	return mediaType
}

// stream sends the body. The headers wait for its first bytes, so that a chain
// that fails before them is still answered in words.
func (a answer) stream() {
	a.answered()
	err := a.sendBody(a.sendHeader)
	switch {
	case err == nil:
	case a.rec.status == 0:
		a.fail(err)
	default:
		a.cut(err, length(&a.resp) < 0)
	}
}

// mayBeLate reports whether the first byte may be long in coming although the headers are
// known: of a blob that is being fetched, from an upstream that trickles, or that is proved
// right before it is shown.
func (a answer) mayBeLate() bool {
	return a.resp.Unproved || a.req.Op == pullchain.Blob && (a.resp.Cache == pullchain.CacheMiss || a.resp.Cache == pullchain.CacheCoalesced)
}

// sendBody sends the body of the response, and before its first byte what header
// sends.
func (a answer) sendBody(header func()) error {
	size := length(&a.resp)
	if sections := a.resp.Body.Sections(); sections != nil {
		s := sectionSender{dst: &a.rec, src: sections, left: size, direct: a.rec.takesFiles(a.r), header: header, late: a.mayBeLate()}
		if asked := a.req.Range; a.req.Op == pullchain.Blob && a.ranged && asked.From >= 0 && asked.To == 0 {
			s.end = &chunkEnd{starts: &a.h.starts, time: a.h.hangUp, key: startsKey{a.flight.Addr, a.resp.Digest}, gone: a.r.Context().Done()}
			defer a.h.starts.enter(s.end.key, asked.From)()
		}
		return s.run()
	}
	c := copier{dst: &a.rec, src: a.resp.Body, left: size, header: header}
	return c.run()
}

// cut ends an answer that has begun and cannot be completed.
func (a answer) cut(err error, untilClose bool) {
	a.err = err
	a.gone = a.clientGone() || errors.Is(err, errClient)
	a.abort(untilClose)
}

// abort ends an answer that cannot be completed, so that no client takes it for
// the whole. Over HTTP/1.1 what was sent is flushed and the connection closed in
// order (FIN): containerd and podman go on from there by Range when they see a
// short body, and give up on a reset (docs/protocol.md 4.3).
func (a answer) abort(untilClose bool) {
	rc := http.NewResponseController(a.rec.ResponseWriter)
	_ = rc.Flush()
	if untilClose && !a.r.ProtoAtLeast(1, 1) {
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
	if tcp, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}
