package upstreams

import (
	"io"
	"net/http"
	"strings"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// blob fills in out for the answer to a blob request, and hands it the body. Its bytes
// are proved where they are read, so that no label is a reason not to read them.
//
// An upstream that ignored the Range answers 200 and is passed on as such: the
// balancer knows whether skipping is worth it.
func (a *attempt) blob(resp *http.Response, out *pullchain.Response) error {
	if a.as.head {
		return a.blobHead(resp, out)
	}
	if resp.StatusCode == http.StatusPartialContent {
		if err := a.partial(resp, out); err != nil {
			return err
		}
	}
	if a.req.Head { // asked by GET in the place of HEAD: the size is all that is wanted
		if mediaType(resp) == "text/html" && out.Status == http.StatusOK { // no page has a first byte of a blob's size
			return notRegistry("a web page instead of a blob")
		}
		if saysGzip(resp) && out.Status == http.StatusOK {
			out.Size = -1
		}
		out.Status, out.Range = http.StatusOK, pullchain.Range{}
		out.Body = pullchain.PlainBody(a.stream(resp))
		return nil
	}
	if out.Status == http.StatusPartialContent {
		out.Body = pullchain.PlainBody(a.stream(resp))
		return nil
	}
	body, size, err := a.plain(resp)
	if err != nil {
		return err
	}
	out.Size = size
	if out.Body, err = a.begun(resp, body, size); err != nil {
		body.Close()
	}
	return err
}

// blobHead reads what the headers of a blob say: that it is there, and its size.
func (a *attempt) blobHead(resp *http.Response, out *pullchain.Response) error {
	if _, err := a.digestOfHead(resp); err != nil {
		return err
	}
	a.finish(resp)
	if out.Size = sizeOfHead(resp); out.Size < 0 && isEmpty(a.req.Digest) {
		out.Size = 0
	}
	return nil
}

// maxPage is up to what size a web page in the place of a blob is read to its end, to
// find out whether it is the blob: portals' pages are smaller, and what is larger is
// proved while it streams.
const maxPage = 1 << 20

// begun returns body once it is known not to be what certainly is no such blob: nothing,
// or a web page. Another upstream then has its turn within the same request, where the
// client would have got an answer that breaks off (docs/faults.md 0.1).
func (a *attempt) begun(resp *http.Response, body io.ReadCloser, size int64) (pullchain.Body, error) {
	ahead := int64(0)
	switch {
	case mediaType(resp) == "text/html":
		ahead = maxPage
	case size <= 0:
		ahead = 1
	}
	if ahead == 0 {
		return pullchain.PlainBody(body), nil
	}
	begin, err := io.ReadAll(io.LimitReader(body, ahead))
	if err != nil {
		return nil, err
	}
	whole := int64(len(begin)) < ahead
	right := whole && a.req.Digest.Algorithm().FromBytes(begin) == a.req.Digest
	switch {
	case right:
		body.Close()
		return pullchain.BytesBody(begin), nil
	case len(begin) == 0:
		return nil, corrupt(pullchain.ReachContent, pullchain.CodeTruncated, "nothing came for a blob that is not empty")
	case whole && looksLikeHTML(begin):
		return nil, notRegistry("a web page instead of a blob")
	}
	return pullchain.PlainBody(&joined{io.MultiReader(strings.NewReader(string(begin)), body), body}), nil
}

// partial makes out of a 206 what its headers say of it (docs/faults.md F46): a stream
// that goes on at a byte can use one range alone that begins there. RFC 9110 15.3.7 lets
// a server answer with another range than was asked for, and with several; the whole is
// asked for then (stepdown.go). It may end early: the balancer asks for the rest.
func (a *attempt) partial(resp *http.Response, out *pullchain.Response) error {
	if strings.HasPrefix(mediaType(resp), "multipart/") {
		return odd(pullchain.CodeWrongRange, "several ranges where one was asked for")
	}
	got, err := wire.ParseContentRange(resp.Header.Get("Content-Range"))
	want := a.as.part
	if want.Whole() {
		return a.unasked(resp, out, got, err)
	}
	if err != nil {
		if got = a.supposed(resp); got.Range.Whole() {
			return odd(pullchain.CodeWrongRange, "%w", err)
		}
	}
	// A range of an encoded body is one of the encoded bytes (RFC 9110 14.1), unless the
	// label is all that is encoded about it.
	if saysGzip(resp) && (got.Total < 0 || got.Total != a.req.Size) {
		return odd(pullchain.CodeEncoded, "a range of a body with Content-Encoding %s", wire.Quote(encoding(resp)))
	}
	if got.Total < 0 && want.From < 0 { // "bytes 0-99/*" of a suffix range: where it lies is not known
		return odd(pullchain.CodeWrongRange, "the end of something of unknown size")
	}
	start := want.From
	if start < 0 {
		start = max(0, got.Total+start)
	}
	// It may end before what was asked for, and not after: those bytes would be taken for
	// the ones that come next.
	beyond := want.To > 0 && got.Range.To > want.To
	if got.Range.From != start || beyond {
		return odd(pullchain.CodeWrongRange, "asked for %s, got %s", wire.FormatRange(want), got)
	}
	if n := got.Range.To - got.Range.From; resp.ContentLength >= 0 && resp.ContentLength != n {
		return odd(pullchain.CodeWrongSize, "%s with %d bytes", got, resp.ContentLength)
	}
	out.Status, out.Range, out.Size = http.StatusPartialContent, got.Range, got.Total
	return nil
}

// unasked takes a 206 to a request for the whole as the 200 that it should be, where its
// range says that it is the whole, or where nothing says otherwise.
func (a *attempt) unasked(resp *http.Response, out *pullchain.Response, got wire.ContentRange, err error) error {
	whole := err == nil && got.Range.From == 0 && got.Range.To == got.Total
	silent := resp.Header.Get("Content-Range") == "" && a.steps.part == nil
	if !whole && !silent {
		return odd(pullchain.CodeWrongRange, "HTTP 206 with %s to a request without a range", wire.Quote(resp.Header.Get("Content-Range")))
	}
	if whole && resp.ContentLength < 0 {
		resp.ContentLength = got.Total
	}
	out.Size = resp.ContentLength
	return nil
}

// supposed returns the part that was asked for as what a 206 without a Content-Range
// carries, if its length is the one that this part has.
func (a *attempt) supposed(resp *http.Response) wire.ContentRange {
	got := wire.ContentRange{Range: a.as.part, Total: -1}
	if resp.Header.Get("Content-Range") != "" {
		return wire.ContentRange{} // it has one, which says something else
	}
	if a.req.Size > 0 {
		abs, ok := wire.ResolveRange(a.as.part, a.req.Size)
		if !ok {
			return wire.ContentRange{}
		}
		got = wire.ContentRange{Range: abs, Total: a.req.Size}
	}
	if got.Range.From < 0 || got.Range.To-got.Range.From != resp.ContentLength {
		return wire.ContentRange{}
	}
	return got
}
