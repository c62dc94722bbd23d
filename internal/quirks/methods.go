package quirks

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// heads are about HEAD, which many servers never heard of.
func heads() []Quirk {
	head := method(http.MethodHead)
	var qs []Quirk
	for _, status := range []int{400, 403, 404, 405, 500, 503} {
		refuse := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
		qs = append(qs, Quirk{Name: fmt.Sprintf("head-manifest-%d", status), About: fmt.Sprintf("HEAD of a manifest is %d, GET is fine", status),
			Source: "proxy projects, gateways that let GET through only", Registry: []Layer{replaced(all(isManifest, head), refuse)}})
		if status != 400 && status < 500 {
			qs = append(qs,
				Quirk{Name: fmt.Sprintf("head-blob-%d", status), About: fmt.Sprintf("HEAD of a blob is %d, GET is fine", status),
					Source: "a proxy cache that has not fetched it yet", Registry: []Layer{replaced(all(isBlob, head), refuse)}},
				Quirk{Name: fmt.Sprintf("head-link-%d", status), About: fmt.Sprintf("blobs are at a link that is signed for GET: HEAD is %d", status),
					Source: "presigned links of S3, GCS and R2", CDN: []Layer{replaced(all(isBlob, head), refuse)}})
		}
	}
	return append(qs,
		Quirk{Name: "head-no-length", About: "HEAD tells no length", Source: "streaming proxies",
			Registry: []Layer{changed(head, func(_ *http.Request, a *answer) { a.header.Del("Content-Length") })}},
		Quirk{Name: "head-no-digest", About: "HEAD of a tag tells no digest", Source: "gateways that drop unknown headers",
			Registry: []Layer{changed(all(head, isManifest), func(_ *http.Request, a *answer) { a.header.Del("Docker-Content-Digest"); a.header.Del("ETag") })}},
		Quirk{Name: "head-length-0", About: "HEAD says Content-Length: 0", Source: "functions at the edge, which drop the body first",
			Registry: []Layer{changed(head, func(_ *http.Request, a *answer) { a.header.Set("Content-Length", "0") })}},
	)
}

// links are about redirects.
func links() []Quirk {
	var qs []Quirk
	for _, status := range []int{301, 302, 303, 308} {
		qs = append(qs, Quirk{Name: fmt.Sprintf("link-%d", status), About: fmt.Sprintf("blobs and manifests are moved on the same host by %d", status), Source: "vanity domains, trailing slashes",
			Registry: []Layer{moved(status)}})
	}
	long := strings.Repeat("0123456789abcdef", 512)
	signed := func(query string) func(string, *http.Request) string {
		return func(base string, r *http.Request) string { return base + cdnPath + r.URL.Path + query }
	}
	hop := replaced(func(r *http.Request) bool { return isBlob(r) && len(r.URL.Query().Get("hop")) < 4 }, func(w http.ResponseWriter, r *http.Request) {
		redirect(w, http.StatusFound, r.URL.Path+"?hop="+r.URL.Query().Get("hop")+"x")
	})
	return append(qs,
		Quirk{Name: "link-8kb", About: "the link to a blob has 8 KB of signature", Source: "CDNs with policies in the link", CDN: []Layer{}, Link: signed("?s=" + long)},
		Quirk{Name: "link-space", About: "the link to a blob has a raw space in it", Source: "a file name in response-content-disposition", CDN: []Layer{}, Link: signed("?response-content-disposition=attachment; filename=a b")},
		Quirk{Name: "link-relative", About: "the link to a blob is relative", Source: "registries that serve blobs themselves", CDN: []Layer{}, SameHost: true, Link: signed("?s=1")},
		Quirk{Name: "link-4-hops", About: "the CDN redirects four times more", Source: "a CDN before a CDN", CDN: []Layer{hop}},
		Quirk{Name: "link-once", About: "each link is good for one request", Source: "links with a nonce", CDN: []Layer{linkOnce}, Link: freshLink()},
		Quirk{Name: "link-no-login", About: "the registry wants a token, the CDN refuses a request that has one", Source: "S3: only one auth mechanism allowed",
			Registry: []Layer{tokens(tokenServer{})}, CDN: []Layer{noLogin}},
		Quirk{Name: "link-vanity", About: "everything is redirected to another registry, which wants a token of its own", Source: "vanity domains before a public registry", Registry: []Layer{vanity(false)}},
		Quirk{Name: "link-vanity-challenge", About: "the same, and the first host names the other's token server", Source: "the same", Registry: []Layer{vanity(true)}},
	)
}

func noLogin(s *Stage, next http.Handler) http.Handler {
	return replaced(func(r *http.Request) bool { return r.Header.Get("Authorization") != "" }, saying(400, "application/xml", amazonError))(s, next)
}

// moved redirects manifests and blobs once, to another path of the same host.
func moved(status int) Layer {
	const prefix = "/moved"
	return func(_ *Stage, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if rest, ok := strings.CutPrefix(r.URL.Path, prefix); ok {
				r = r.Clone(r.Context())
				r.URL.Path = rest
				next.ServeHTTP(w, r)
				return
			}
			if isManifest(r) || isBlob(r) {
				redirect(w, status, baseOf(r)+prefix+r.URL.RequestURI())
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// freshLink numbers the links, over all registries: no two are the same.
func freshLink() func(string, *http.Request) string {
	var mu sync.Mutex
	n := 0
	return func(base string, r *http.Request) string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return fmt.Sprintf("%s%s%s?link=%d", base, cdnPath, r.URL.Path, n)
	}
}

// linkOnce refuses a link that was used.
func linkOnce(s *Stage, next http.Handler) http.Handler {
	var mu sync.Mutex
	used := map[string]bool{}
	return replaced(func(r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		link := r.URL.Query().Get("link")
		was := used[link]
		used[link] = true
		return was
	}, saying(403, "application/xml", `<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>`))(s, next)
}
