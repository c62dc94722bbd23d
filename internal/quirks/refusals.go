package quirks

import (
	"fmt"
	"net/http"
	"strings"
)

const limited = `{"errors":[{"code":"TOOMANYREQUESTS","message":"rate exceeded"}]}`

// refusals are answers that refuse: for one image, for one class, for a moment.
func refusals() []Quirk {
	const one = "one image that is broken, forbidden or limited, in a registry that is well"
	odd := func(name, about string, h http.HandlerFunc) Quirk {
		return Quirk{Name: "odd-" + name, About: "one image " + about, Source: one, Registry: []Layer{replaced(isOdd, h)}}
	}
	later := func(status int, value, mediaType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", value)
			say(w, r, status, mediaType, body)
		}
	}
	challenge := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Del("Docker-Distribution-Api-Version")
		w.Header().Set("Cf-Mitigated", "challenge")
		w.Header().Set("Server", "cloudflare")
		say(w, r, http.StatusForbidden, "text/html; charset=utf-8", "<!DOCTYPE html><html><title>Just a moment...</title></html>")
	}
	qs := []Quirk{
		odd("500", "is answered 500", refusing(500, "UNKNOWN", "unknown error")),
		odd("503-hour", "is answered 503 with Retry-After: 3600", later(503, "3600", "text/plain", "in maintenance")),
		odd("403-denied", "is forbidden", refusing(403, "DENIED", "requested access to the resource is denied")),
		odd("403-challenge", "meets a challenge of Cloudflare", challenge),
		odd("451", "is not available for legal reasons", refusing(451, "DENIED", "unavailable for legal reasons")),
		odd("200-html", "is answered by a web page", saying(200, "text/html; charset=utf-8", page)),
		odd("404-harbor", "is not found, in the words of a proxy project", refusing(404, "NOT_FOUND", "artifact odd/app not found")),
		odd("500-quota", "is answered 500, since the mirror's own quota is spent", saying(500, "application/json",
			`{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":"toomanyrequests: You have reached your unauthenticated pull rate limit."}]}`)),
		{Name: "limit-blobs", Slow: true, About: "blobs are 429, text, manifests are fine", Source: "an abuse guard for transfers", Registry: []Layer{replaced(isBlob, saying(429, "text/plain", "Too Many Requests"))}},
		{Name: "limit-cdn", Slow: true, About: "the CDN says 429 by a web page", Source: "the same before the bucket", CDN: []Layer{replaced(isBlob, saying(429, "text/html", "<html>slow down</html>"))}},
	}
	// Clients wait for what a 429 says, up to minutes.
	hour := odd("429-hour", "is answered 429 with Retry-After: 3600", later(429, "3600", "application/json", limited))
	hour.Slow = true
	qs = append(qs, hour)
	qs = append(qs, Quirk{Name: "odd-404-then-200", About: "one image is not found when it is asked for first, and is there later", Source: "proxy projects that fetch in the background", Passes: true,
		Registry: []Layer{firstReplaced(1, all(isOdd, isTagged), refusing(404, "NOT_FOUND", "artifact odd/app not found"))}})
	for _, v := range []struct{ name, value string }{{"0", "0"}, {"negative", "-1"}, {"past", "Mon, 01 Jan 2024 00:00:00 GMT"}} {
		qs = append(qs, Quirk{Name: "limit-once-" + v.name, About: "the first answer for each tag is 429 with Retry-After: " + v.value, Source: "limits that are over at once",
			Registry: []Layer{firstReplaced(1, all(isTagged), later(429, v.value, "application/json", limited))}})
	}
	return append(qs,
		Quirk{Name: "fail-manifest-once", About: "the first answer for each manifest is 503", Source: "a node that restarts", Registry: []Layer{firstReplaced(1, isManifest, saying(503, "text/plain", ""))}},
		Quirk{Name: "fail-blob-once", About: "the first answer for each blob is 500", Source: "a node that restarts", Registry: []Layer{firstReplaced(1, isBlob, refusing(500, "UNKNOWN", "unknown error"))}},
		Quirk{Name: "fail-blob-once-cdn", About: "the first answer for each blob at the CDN is 502 html", Source: "a CDN whose origin was slow", CDN: []Layer{firstReplaced(1, isBlob, saying(502, "text/html", "<html>Bad Gateway</html>"))}},
		Quirk{Name: "accept-strict", About: "a manifest is 404 unless its own type is in Accept", Source: "registries that choose by Accept", Registry: []Layer{replaced(func(r *http.Request) bool {
			return isManifest(r) && !strings.Contains(strings.Join(r.Header["Accept"], ","), "oci")
		}, refusing(404, "MANIFEST_UNKNOWN", "OCI manifest found, but accept header does not support OCI manifests"))}},
	)
}

// referrers are about an endpoint that most registries lack.
func referrers() []Quirk {
	const source = "registries, and what stands before them, that never heard of the endpoint"
	here := func(name string, h http.HandlerFunc) Quirk {
		return Quirk{Name: "referrers-" + name, About: "referrers is answered " + strings.ReplaceAll(name, "-", ", "), Source: source, Registry: []Layer{replaced(isReferrers, h)}}
	}
	elsewhere := func(name string, h http.HandlerFunc) Quirk {
		return Quirk{Name: "referrers-303-" + name, About: "referrers redirects to another host, which answers " + strings.ReplaceAll(name, "-", ", "), Source: source,
			Registry: []Layer{func(s *Stage, next http.Handler) http.Handler {
				base := s.Host(h)
				return replaced(isReferrers, func(w http.ResponseWriter, _ *http.Request) { redirect(w, http.StatusSeeOther, base+"/x") })(s, next)
			}}}
	}
	qs := []Quirk{
		elsewhere("429-html", saying(429, "text/html; charset=utf-8", "<html><body>Whoa there!</body></html>")),
		elsewhere("429-text", saying(429, "text/plain", "slow down")),
		elsewhere("429-json", saying(429, "application/json", limited)),
		elsewhere("429-empty", saying(429, "", "")),
		elsewhere("200-html", saying(200, "text/html; charset=utf-8", page)),
		elsewhere("404-html", saying(404, "text/html", "<html>Not found</html>")),
		here("200-html", saying(200, "text/html; charset=utf-8", page)),
		here("404-html", saying(404, "text/html", "<html>404</html>")),
		here("404-name", refusing(404, "NAME_UNKNOWN", "repository name not known to registry")),
		here("400-text", saying(400, "text/plain", "bad request")),
		here("500-json", refusing(500, "UNKNOWN", "unknown error")),
	}
	for _, status := range []int{405, 406, 501} {
		qs = append(qs, here(fmt.Sprintf("%d-json", status), refusing(status, "UNSUPPORTED", "The operation is unsupported.")))
	}
	return qs
}
