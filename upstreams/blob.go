package upstreams

import (
	"net/http"
	"strings"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// blob fills in out for the answer to a blob request, and hands it the body.
// An upstream that ignored the Range answers 200 and is passed on as such: the
// balancer knows whether skipping is worth it.
func (a *attempt) blob(resp *http.Response, out *pullchain.Response) error {
	switch {
	case resp.StatusCode == http.StatusOK:
	case resp.StatusCode == http.StatusPartialContent && !a.req.Head:
		if err := a.partial(resp, out); err != nil {
			return err
		}
	default: // a 204 would pass for an empty blob, or for a proof of access
		return corrupt(pullchain.CodeUnexpected, "HTTP %d for a blob", resp.StatusCode)
	}
	// A label alone proves nothing wrong, but this one says that other bytes would come:
	// another upstream is asked before a layer of gigabytes is read for that (F28).
	if claimed, err := claimedDigest(resp); err == nil && claimed != "" &&
		claimed.Algorithm() == a.req.Digest.Algorithm() && claimed != a.req.Digest {
		return corrupt(pullchain.CodeDigestMismatch, "asked for %s, offered %s", a.req.Digest, claimed)
	}
	if a.req.Head {
		a.finish(resp)
		if encoded(resp) {
			out.Size = -1
		}
		return nil
	}
	body, err := decoded(resp, a.stream(resp))
	if err != nil {
		return err
	}
	if encoded(resp) {
		out.Size = -1 // the length was that of the encoded body
	}
	out.Body = pullchain.PlainBody(body)
	return nil
}

// partial checks a 206 against what was asked: it must be one range that
// begins where it should and is as long as its headers say (docs/faults.md F46). RFC 9110
// 15.3.7 lets a server answer with another range than was asked for, and of several
// ranges at once; a stream that goes on at a byte can use neither. It may end early:
// then the balancer asks for the rest.
func (a *attempt) partial(resp *http.Response, out *pullchain.Response) error {
	want := a.req.Range
	if want.Whole() {
		return corrupt(pullchain.CodeWrongRange, "HTTP 206 to a request without a range")
	}
	if encoded(resp) { // the range is one of the encoded bytes (RFC 9110 14.1)
		return corrupt(pullchain.CodeEncoded, "a range of a body with Content-Encoding %s", wire.Quote(resp.Header.Get("Content-Encoding")))
	}
	if strings.HasPrefix(mediaType(resp), "multipart/") {
		return corrupt(pullchain.CodeWrongRange, "several ranges where one was asked for")
	}
	got, err := wire.ParseContentRange(resp.Header.Get("Content-Range"))
	if err != nil {
		return corrupt(pullchain.CodeWrongRange, "%w", err)
	}
	if got.Total < 0 && want.From < 0 { // "bytes 0-99/*" of a suffix range: where it lies is not known
		return corrupt(pullchain.CodeWrongRange, "the end of something of unknown size")
	}
	start := want.From
	if start < 0 {
		start = max(0, got.Total+start)
	}
	// It may end before what was asked for, and not after: those bytes would be taken for
	// the ones that come next.
	beyond := want.To > 0 && got.Range.To > want.To
	if got.Range.From != start || beyond {
		return corrupt(pullchain.CodeWrongRange, "asked for %s, got %s", wire.FormatRange(want), got)
	}
	if n := got.Range.To - got.Range.From; resp.ContentLength >= 0 && resp.ContentLength != n {
		return corrupt(pullchain.CodeWrongSize, "%s with %d bytes", got, resp.ContentLength)
	}
	out.Status, out.Range, out.Size = http.StatusPartialContent, got.Range, got.Total
	return nil
}
