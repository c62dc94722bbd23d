package quirks

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
)

// labels are about headers that say what a body is.
func labels() []Quirk {
	var qs []Quirk
	noDigest := func(_ *http.Request, a *answer) { a.header.Del("Docker-Content-Digest"); a.header.Del("ETag") }
	for _, l := range []struct{ name, value string }{
		{"json", "application/json"}, {"none", ""}, {"octet", "application/octet-stream"}, {"plain", "text/plain; charset=utf-8"}, {"html", "text/html; charset=utf-8"},
	} {
		source := "static file servers, mirrors made of buckets"
		qs = append(qs,
			Quirk{Name: "label-" + l.name, About: "manifests are labelled " + strings.TrimSpace(l.name+" "+l.value), Source: source, Registry: []Layer{changed(isManifest, label(l.value))}},
			Quirk{Name: "label-" + l.name + "-no-digest", About: "the same without Docker-Content-Digest", Source: source,
				Registry: []Layer{changed(isManifest, label(l.value)), changed(isManifest, noDigest)}})
	}
	add := func(name, about, source string, m match, change func(*http.Request, *answer)) {
		qs = append(qs, Quirk{Name: name, About: about, Source: source, Registry: []Layer{changed(m, change)}})
	}
	add("label-capitals", "a manifest's type in capitals, with a charset in quotes", "gateways that add a charset", isManifest, func(_ *http.Request, a *answer) {
		a.header.Set("Content-Type", strings.ToUpper(a.header.Get("Content-Type"))+`; Charset="UTF-8"`)
	})
	add("label-docker-on-oci", "an OCI manifest is labelled as Docker's", "old proxies", all(isManifest), func(_ *http.Request, a *answer) {
		a.header.Set("Content-Type", strings.NewReplacer(
			typeManifest, "application/vnd.docker.distribution.manifest.v2+json",
			typeIndex, "application/vnd.docker.distribution.manifest.list.v2+json").Replace(a.header.Get("Content-Type")))
	})
	add("label-blob-html", "blobs are labelled text/html", "buckets without a type for .data", isBlob, label("text/html"))
	add("label-blob-none", "blobs have no label", "hand-made proxies", isBlob, label(""))
	add("digest-missing", "no answer names its digest", "registries on static files", isAny, noDigest)
	add("digest-wrong-on-tags", "Docker-Content-Digest of a tag is that of something else", "caches that mix headers", isTagged, func(_ *http.Request, a *answer) {
		a.header.Set("Docker-Content-Digest", digestOf([]byte("something else")))
	})
	add("version-missing", "no Docker-Distribution-Api-Version anywhere", "most registries made since 2020", isAny, func(_ *http.Request, a *answer) {
		a.header.Del("Docker-Distribution-Api-Version")
	})
	add("headers-20kb", "every answer has 20 KB of cookies and policies", "single sign-on gateways", isAny, func(_ *http.Request, a *answer) {
		a.header.Set("Content-Security-Policy", strings.Repeat("default-src 'self'; ", 1000))
	})
	return qs
}

// encodings are about Content-Encoding.
func encodings() []Quirk {
	encoded := func(name, about, source, value string, m match, pack func([]byte) []byte) Quirk {
		return Quirk{Name: "encoding-" + name, About: about, Source: source, Registry: []Layer{wholeAlways, changed(m, func(r *http.Request, a *answer) {
			if a.status != http.StatusOK {
				return
			}
			a.header.Set("Content-Encoding", value)
			if r.Method == http.MethodGet {
				a.body = pack(a.body)
			} else if value == "gzip" {
				a.header.Del("Content-Length")
			}
		})}}
	}
	same := func(b []byte) []byte { return b }
	const bucket = "objects that were stored with the label"
	return []Quirk{
		encoded("aws-chunked", "blobs are labelled aws-chunked, the bytes are plain", bucket, "aws-chunked", isBlob, same),
		encoded("aws-chunked-gzip", "blobs are labelled aws-chunked,gzip and in gzip", bucket, "aws-chunked,gzip", isBlob, packed),
		encoded("gzip-all", "manifests and blobs come in gzip, unasked", "gateways that compress everything", "gzip", func(r *http.Request) bool { return isManifest(r) || isBlob(r) }, packed),
		encoded("gzip-lie", "blobs are labelled gzip, and are as they should be", bucket, "gzip", isBlob, same),
		encoded("identity", "everything is labelled identity", "hand-made proxies", "identity", isAny, same),
		encoded("utf8", "everything is labelled utf-8", "a charset in the wrong header", "utf-8", isAny, same),
	}
}

func packed(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // memory does not fail
	}
	return out.Bytes()
}
