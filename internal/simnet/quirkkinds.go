package simnet

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

func sortQuirks(all []Quirk) {
	slices.SortFunc(all, func(a, b Quirk) int { return strings.Compare(a.Name, b.Name) })
}

// moved redirects once to the same path with more of a query, and with raw spaces in it.
func moved(on Class, status int, query string) Fault {
	return Fault{On: on, Unless: "moved=1", Respond: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Location"] = []string{r.URL.Path + "?" + query + "moved=1"}
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(status)
	})}
}

func redirectQuirks() []Quirk {
	var all []Quirk
	for _, status := range []int{301, 302, 303, 308} {
		all = append(all, Quirk{
			Name: fmt.Sprintf("redirect-%d", status), What: fmt.Sprintf("manifests and blobs are at another path of the same host, by %d", status), Harmless: true,
			Play: atHub(moved(Manifests|Blobs, status, "")),
		})
	}
	return append(all,
		Quirk{"redirect-space", "a raw space in Location", true, atHub(moved(Manifests|Blobs, 307, "file=a b&"))},
		Quirk{"redirect-8k", "a link with 8 KB of signature", true, atHub(moved(Blobs, 307, "s="+strings.Repeat("0123456789abcdef", 512)+"&"))},
		Quirk{"redirect-registry", "everything is at another registry, which wants a token of its own", true, playVanity},
	)
}

// playVanity sends everything but the ping to a registry of the same content.
func playVanity(h *Hub) func() {
	other := h.twin(h.name + "-moved")
	return h.Inject(Fault{On: Manifests | Blobs | Tags | Referrers, Respond: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", other.PublicURL()+r.URL.RequestURI())
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})})
}

// twin returns another registry with h's content and a token server of its own, which is
// started at the first call for that name.
func (h *Hub) twin(name string) *Hub {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.twins[name]; t != nil {
		return t
	}
	cfg := HubConfig{Origin: h.origin, Direct: true}
	cfg.Name, cfg.Addr, cfg.Hosts = name, "", nil
	t := &Hub{Library: h.Library, Auth: h.Server.net.AddAuth(authOf(cfg))}
	cfg.Handler = &registry{from: h.Library, count: t.count, admit: t.admit}
	t.Server = h.Server.net.start(cfg.Origin, nil)
	if h.twins == nil {
		h.twins = map[string]*Hub{}
	}
	h.twins[name] = t
	return t
}

// elsewhere returns a web server that has nothing of a registry.
func (h *Hub) elsewhere(name string, answer http.HandlerFunc) *Server {
	if s := h.Server.net.Server(name); s != nil {
		return s
	}
	return h.Server.net.AddOrigin(Origin{Name: name, Plain: h.origin.Plain, ByName: h.origin.ByName, Handler: answer})
}

func referrersQuirks() []Quirk {
	var all []Quirk
	for _, status := range []int{400, 405, 406, 501} {
		all = append(all, Quirk{
			Name: fmt.Sprintf("referrers-%d", status), What: fmt.Sprintf("the referrers API is %d", status), Harmless: true,
			Play: atHub(says(Referrers, status, "application/json", "{}")),
		})
	}
	all = append(all,
		Quirk{"referrers-html", "a web page in the place of referrers", true, atHub(says(Referrers, 200, htmlType, webPage))},
		Quirk{"referrers-404-html", "referrers are 404, in HTML", true, atHub(says(Referrers, 404, htmlType, webPage))},
	)
	for name, a := range map[string]struct {
		status            int
		contentType, body string
	}{
		"html-200": {200, htmlType, webPage}, "html-404": {404, htmlType, webPage}, "html-429": {429, htmlType, webPage},
		"plain-429": {429, plainText, "slow down"}, "json-429": {429, "application/json", string(errorBody("TOOMANYREQUESTS", "rate exceeded"))}, "empty-429": {429, "", ""},
	} {
		all = append(all, Quirk{
			Name: "referrers-303-" + name, What: "referrers lead to another host, which says " + name, Harmless: true,
			Play: func(h *Hub) func() {
				other := h.elsewhere(h.name+"-"+name, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", a.contentType)
					w.WriteHeader(a.status)
					_, _ = fmt.Fprint(w, a.body)
				})
				return h.Inject(Fault{On: Referrers, Status: 303, Header: map[string]string{"Location": other.PublicURL() + "/x"}})
			},
		})
	}
	sortQuirks(all)
	return append(all, Quirk{"tags-3mb", "a list of tags of 3 MB", true, atHub(Fault{On: Tags, Respond: huge(3<<20, true, "application/json")})})
}

func missingQuirks() []Quirk {
	return []Quirk{
		{"router-404", "a router answers everything: 404 page not found", false, atHub(says(0, 404, plainText, routerNotFound))},
		{"ingress-404", "an ingress answers everything: default backend - 404", false, atHub(says(0, 404, plainText, ingressNotFound))},
		{"page-404", "a web server answers everything: 404 in HTML", false, atHub(says(0, 404, htmlType, webPage))},
		{"ping-404-plain", "/v2/ alone is 404 in text", true, atHub(says(Ping, 404, plainText, routerNotFound))},
		{"ping-404-html", "/v2/ alone is 404 in HTML", true, atHub(says(Ping, 404, htmlType, webPage))},
		{"ping-500", "/v2/ alone is 500", true, atHub(says(Ping, 500, plainText, "oops"))},
		{"not-found-once", "the first manifest is 404, while a proxy project fetches it", false,
			atHub(Fault{On: Manifests, Method: http.MethodGet, Times: 1, Status: 404, Body: string(errorBody("NOT_FOUND", "artifact not found")), Header: map[string]string{"Content-Type": "application/json"}})},
		{"challenge-403", "everything is 403 with a browser's challenge", false, func(h *Hub) func() {
			f := says(0, 403, htmlType, webPage)
			f.Header["Cf-Mitigated"] = "challenge"
			return h.Inject(f)
		}},
	}
}

func limitQuirks() []Quirk {
	return []Quirk{
		{"blobs-429-plain", "blobs alone are limited, in plain text", false, atHub(says(Blobs, 429, plainText, "Too Many Requests"))},
		{"cdn-429-html", "the CDN limits, in HTML", false, atCDN(says(Blobs, 429, htmlType, webPage))},
		{"token-slow", "the token server takes twelve seconds", true, func(h *Hub) func() { return h.Auth.Inject(Fault{On: Token, Delay: 12 * time.Second}) }},
	}
}

// oddImageQuirks are what one image does to a registry.
func oddImageQuirks() []Quirk {
	odd := func(f Fault) func(*Hub) func() {
		f.Match = "/v2/" + OddRepo + "/"
		return atHub(f)
	}
	hour := says(0, 503, plainText, "")
	hour.Header["Retry-After"] = "3600"
	legal := Fault{Status: 451, Body: string(errorBody("DENIED", "unavailable for legal reasons")), Header: map[string]string{"Content-Type": "application/json"}}
	return []Quirk{
		{"odd-500", "one image is 500", true, odd(Fault{Status: 500, Body: string(errorBody("UNKNOWN", "unknown error"))})},
		{"odd-503-hour", "one image is 503 for an hour", true, odd(hour)},
		{"odd-html", "one image is a web page", true, odd(says(0, 200, htmlType, webPage))},
		{"odd-403", "one image is denied", true, odd(Fault{Status: 403, Body: string(errorBody("DENIED", "requested access to the resource is denied"))})},
		{"odd-451", "one image is not to be had for legal reasons", true, odd(legal)},
	}
}
