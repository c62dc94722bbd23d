package quirks

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

const amazonError = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>InvalidArgument</Code><Message>Invalid argument.</Message></Error>`

// ranges are about parts of a blob.
func ranges() []Quirk {
	var qs []Quirk
	for _, status := range []int{400, 403, 416, 501} {
		refuse := replaced(all(isBlob, isRanged), saying(status, "application/xml", amazonError))
		source := "CDNs that know no ranges: a bucket's gateway says 400, a signed link 403, a cache 416, a proxy 501"
		qs = append(qs,
			Quirk{Name: fmt.Sprintf("range-%d-cdn", status), About: fmt.Sprintf("the CDN answers any Range with %d", status), Source: source, CDN: []Layer{refuse}},
			Quirk{Name: fmt.Sprintf("range-%d-registry", status), About: fmt.Sprintf("the registry answers any Range with %d", status), Source: source, Registry: []Layer{refuse}},
			Quirk{Name: fmt.Sprintf("range-%d-cdn-cut", status), About: fmt.Sprintf("the CDN cuts the first answer of each blob, and answers any Range with %d", status), Source: source, CDN: []Layer{refuse, cutOnce}},
		)
	}
	blob := func(name, about, source string, change func(*http.Request, *answer)) {
		qs = append(qs, Quirk{Name: name, About: about, Source: source, Registry: []Layer{changed(isBlob, change)}})
	}
	qs = append(qs, Quirk{Name: "range-ignored", About: "a Range is answered 200 with the whole blob", Source: "registries over object stores without ranges",
		Registry: []Layer{wholeAlways}})
	qs = append(qs, Quirk{Name: "range-ignored-cut", About: "the first answer of each blob is cut, a Range is answered 200 with the whole", Source: "the same on a bad line",
		Registry: []Layer{wholeAlways, cutOnce}})
	blob("range-206-always", "the whole blob comes as 206 with a Content-Range, without being asked for a part", "caches that fetch in parts", func(r *http.Request, a *answer) {
		if isWhole(r, a) && r.Header.Get("Range") == "" {
			a.status = http.StatusPartialContent
			a.header.Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(a.body)-1, len(a.body)))
		}
	})
	blob("range-no-content-range", "a part comes as 206 without Content-Range", "hand-made proxies", func(_ *http.Request, a *answer) { a.header.Del("Content-Range") })
	blob("range-total-unknown", "Content-Range tells no total: bytes 0-1/*", "streaming gateways (RFC 9110, 14.4)", func(_ *http.Request, a *answer) { contentRange(a, "*") })
	blob("range-total-wrong", "Content-Range tells a total that is one too many", "caches that count a header", func(_ *http.Request, a *answer) { contentRange(a, "+") })
	blob("range-none-offered", "Accept-Ranges: none, though ranges work", "gateways' defaults", func(_ *http.Request, a *answer) { a.header.Set("Accept-Ranges", "none") })
	return append(qs, Quirk{Name: "range-etag-changes", About: "each answer has a weak ETag of its own, a Content-Disposition, and the first is cut", Source: "several nodes behind one name",
		Registry: []Layer{cutOnce, etagChanges}})
}

// contentRange puts another total behind the slash of a Content-Range.
func contentRange(a *answer, total string) {
	head, old, ok := strings.Cut(a.header.Get("Content-Range"), "/")
	if !ok {
		return
	}
	if n, err := strconv.Atoi(old); err == nil && total == "+" {
		total = strconv.Itoa(n + 1)
	}
	a.header.Set("Content-Range", head+"/"+total)
}

// wholeAlways takes the Range away before the registry sees it.
func wholeAlways(_ *Stage, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isBlob(r) {
			r = r.Clone(r.Context())
			r.Header.Del("Range")
			r.Header.Del("If-Range")
		}
		next.ServeHTTP(w, r)
	})
}

// cutOnce breaks the first answer of each blob off in its middle.
func cutOnce(s *Stage, next http.Handler) http.Handler {
	return firstChanged(1, all(isBlob, method(http.MethodGet)), func(r *http.Request, a *answer) {
		if a.status < 300 {
			a.cut = max(1, len(a.body)/2)
		}
	})(s, next)
}

func etagChanges(s *Stage, next http.Handler) http.Handler {
	var n atomic.Int64
	return changed(isBlob, func(_ *http.Request, a *answer) {
		a.header.Set("ETag", fmt.Sprintf(`W/"node%d"`, n.Add(1)))
		a.header.Set("Content-Disposition", `attachment; filename="x"`)
	})(s, next)
}

// blobBodies are about the bytes of blobs and manifests, and how they end.
func blobBodies() []Quirk {
	getBlob := all(isBlob, method(http.MethodGet))
	getTagged := all(isTagged, method(http.MethodGet))
	flip := func(_ *http.Request, a *answer) {
		if a.status < 300 && len(a.body) > 0 {
			a.body = slices.Clone(a.body)
			a.body[len(a.body)/2] ^= 1
		}
	}
	empty := func(chunked bool) func(*http.Request, *answer) {
		return func(_ *http.Request, a *answer) { a.body, a.chunked = nil, chunked }
	}
	cutAtNothing := func(_ *http.Request, a *answer) { a.cut = -1 }
	chunked := func(_ *http.Request, a *answer) { a.chunked = true }
	unending := func(r *http.Request, a *answer) { a.unending = isWhole(r, a) }
	const nodes = "one bad node among several"
	return []Quirk{
		{Name: "blob-cut-once", About: "the first answer of each blob ends in its middle", Source: "every CDN, on some lines", Registry: []Layer{cutOnce}},
		{Name: "blob-cut-at-0-once", About: "the first answer of each blob has its headers, and no byte", Source: nodes, Registry: []Layer{firstChanged(1, getBlob, cutAtNothing)}},
		{Name: "blob-empty-once-chunked", About: "the first answer of each blob is 200, chunked and empty", Source: "proxies whose own upstream timed out", Registry: []Layer{firstChanged(1, getBlob, empty(true))}},
		{Name: "blob-empty-once-length", About: "the first answer of each blob is 200 with Content-Length 0", Source: "the same", Registry: []Layer{firstChanged(1, getBlob, empty(false))}},
		{Name: "blob-flipped-once", Wrong: true, About: "one byte of each blob's first answer is another", Source: nodes, Registry: []Layer{firstChanged(1, getBlob, flip)}},
		{Name: "blob-flipped-once-cdn", Wrong: true, About: "the same at the CDN", Source: nodes, CDN: []Layer{firstChanged(1, getBlob, flip)}},
		{Name: "odd-blobs-flipped", Wrong: true, About: "the blobs of one image are wrong in storage", Source: "a disk that was full, a bad sync", Registry: []Layer{changed(all(isOdd, getBlob), flip)}},
		{Name: "odd-manifest-flipped", About: "the manifest of one image is wrong in storage", Source: "the same", Registry: []Layer{changed(all(isOdd, isManifest, method(http.MethodGet)), flip)}},
		{Name: "blob-chunked", About: "blobs come without a length", Source: "streaming proxies", Registry: []Layer{changed(getBlob, chunked)}},
		{Name: "manifest-chunked", About: "manifests come without a length", Source: "compressing gateways", Registry: []Layer{changed(isManifest, func(_ *http.Request, a *answer) { a.chunked = true; a.header.Del("Content-Length") })}},
		{Name: "blob-last-chunk-missing", About: "blobs come without a length and without the last chunk", Source: "hand-made proxies that close instead", Registry: []Layer{changed(getBlob, unending)}},
		{Name: "manifest-empty-once", About: "the first answer of each tag is 200 and empty", Source: "a gateway's cache that was cut", Registry: []Layer{firstChanged(1, getTagged, empty(false))}},
		{Name: "manifest-cut-once", About: "the first answer of each tag ends in its middle", Source: nodes, Registry: []Layer{firstChanged(1, getTagged, func(_ *http.Request, a *answer) { a.cut = max(1, len(a.body)/2) })}},
	}
}
