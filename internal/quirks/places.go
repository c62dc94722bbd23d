package quirks

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// lists are about lists of tags.
func lists() []Quirk {
	return []Quirk{
		{Name: "tags-big", About: "a list of 9000 tags with what else is known of each, 2.7 MB", Source: "gcr.io and its kin", ListedTag: "v1.8999", Registry: []Layer{bigList}},
		{Name: "tags-cursor", About: "the list goes on behind an opaque cursor of 1980 bytes in an absolute Link", Source: "registries on cloud databases", ListedTag: "v1.2", Registry: []Layer{cursor}},
	}
}

func bigList(s *Stage, next http.Handler) http.Handler {
	return changed(isTags, func(_ *http.Request, a *answer) {
		var b strings.Builder
		b.WriteString(`{"child":[],"manifest":{`)
		var tags strings.Builder
		for i := range 9000 {
			if i > 0 {
				b.WriteByte(',')
				tags.WriteByte(',')
			}
			fmt.Fprintf(&b, `"%s":{"imageSizeBytes":"%d","layerId":"","mediaType":"%s","tag":["v1.%d"],"timeCreatedMs":"1690000000000","timeUploadedMs":"1690000000000"}`,
				digestOf(fmt.Append(nil, i)), 1000000+i, typeManifest, i)
			fmt.Fprintf(&tags, `"v1.%d"`, i)
		}
		fmt.Fprintf(&b, `},"name":"odd/app","tags":[%s]}`, &tags)
		a.body = []byte(b.String())
	})(s, next)
}

func cursor(s *Stage, next http.Handler) http.Handler {
	token := strings.Repeat("QUJDRA", 330)
	return replaced(isTags, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("last") {
		case "":
			w.Header().Set("Link", "<"+baseOf(r)+r.URL.Path+"?last="+token+`&n=2>; rel="next"`)
			say(w, r, http.StatusOK, "text/plain; charset=utf-8", `{"name":"odd/app","tags":["v1.0","v1.1"]}`)
		case token:
			say(w, r, http.StatusOK, "text/plain; charset=utf-8", `{"name":"odd/app","tags":["v1.2"]}`)
		default:
			sayError(w, r, http.StatusMethodNotAllowed, "UNSUPPORTED", "Invalid next token")
		}
	})(s, next)
}

// routers are about what stands before a registry and answers in its place.
func routers() []Quirk {
	noRegistry := func(status int, mediaType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Del("Docker-Distribution-Api-Version")
			say(w, r, status, mediaType, body)
		}
	}
	const source = "an ingress whose backend is being replaced"
	notFound := noRegistry(404, "text/plain; charset=utf-8", "404 page not found\n")
	odd := func(name, body string) Quirk {
		return Quirk{Name: "odd-router-" + name, About: "a router answers one image: " + strings.TrimSpace(body), Source: source,
			Registry: []Layer{replaced(isOdd, noRegistry(404, "text/plain; charset=utf-8", body))}}
	}
	ping := func(name string, h http.HandlerFunc) Quirk {
		return Quirk{Name: "ping-" + name, About: "/v2/ is answered " + strings.ReplaceAll(name, "-", ", ") + ", all else works", Source: "registries behind a path rule", Registry: []Layer{replaced(isPing, h)}}
	}
	return []Quirk{
		odd("404", "404 page not found\n"),
		odd("backend", "default backend - 404"),
		{Name: "router-404-once", About: "a router answers the first request for each path: 404 page not found", Source: source,
			Registry: []Layer{firstReplaced(1, func(r *http.Request) bool { return !isPing(r) }, notFound)}},
		{Name: "router-404-every", About: "a router answers every request: 404 page not found", Source: source, Registry: []Layer{replaced(isAny, notFound)}},
		{Name: "router-login", About: "every request is redirected to a login page", Source: "a hotel's network", Registry: []Layer{portal}},
		ping("404-html", noRegistry(404, "text/html", "<html>404</html>")),
		ping("404-text", noRegistry(404, "text/plain; charset=utf-8", "404 page not found\n")),
		ping("500", noRegistry(500, "text/plain", "oops")),
		ping("200-html", noRegistry(200, "text/html", page)),
		ping("403", noRegistry(403, "text/plain", "forbidden")),
	}
}

func portal(s *Stage, next http.Handler) http.Handler {
	base := s.Host(saying(200, "text/html; charset=utf-8", page))
	return replaced(isAny, func(w http.ResponseWriter, r *http.Request) {
		redirect(w, http.StatusFound, base+"/login?url="+url.QueryEscape(r.URL.Path))
	})(s, next)
}

// A tokenServer is one that a registry sends its clients to; its zero value is an
// ordinary one.
type tokenServer struct {
	challenge string        // Bearer's parameters in place of realm, service and scope; %s is the realm
	answer    string        // its JSON; %s is the token
	mediaType string        // of its answer
	uses      int           // requests that a token is good for; zero is any number
	delay     time.Duration // before it answers
}

// tokens puts a token server before a registry, on the registry's own host.
func tokens(t tokenServer) Layer {
	if t.challenge == "" {
		t.challenge = `Bearer realm="%s",service="registry.test",scope="repository:odd/app:pull"`
	}
	if t.answer == "" {
		t.answer = `{"token":"%s"}`
	}
	if t.mediaType == "" {
		t.mediaType = "application/json"
	}
	return func(_ *Stage, next http.Handler) http.Handler {
		var mu sync.Mutex
		used := map[string]int{}
		good := func(token string) bool {
			mu.Lock()
			defer mu.Unlock()
			n, ok := used[token]
			used[token] = n + 1
			if !ok {
				delete(used, token)
			}
			return ok && (t.uses == 0 || n < t.uses)
		}
		issue := func() string {
			mu.Lock()
			defer mu.Unlock()
			token := fmt.Sprintf("token-%d", len(used)+1)
			used[token] = 0
			return token
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/token":
				select {
				case <-time.After(t.delay):
					say(w, r, http.StatusOK, t.mediaType, fmt.Sprintf(t.answer, issue()))
				case <-r.Context().Done():
				}
			case strings.HasPrefix(r.URL.Path, cdnPath+"/") || good(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")):
				next.ServeHTTP(w, r)
			default:
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(t.challenge, baseOf(r)+"/token"))
				sayError(w, r, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
			}
		})
	}
}

// tokenServers are about tokens and where they come from.
func tokenServers() []Quirk {
	q := func(name, about, source string, t tokenServer) Quirk {
		return Quirk{Name: "token-" + name, About: about, Source: source, Registry: []Layer{tokens(t)}, Slow: t.delay > 0}
	}
	return []Quirk{
		q("plain", "a token is wanted, as everywhere", "no oddity: the ground for the others", tokenServer{}),
		q("labelled-html", "the token server's JSON is labelled text/html", "self-made token servers", tokenServer{mediaType: "text/html; charset=utf-8"}),
		q("odd-fields", "token is empty, access_token is not, expires_in is in quotes, issued_at null", "GitLab's and others' kin",
			tokenServer{answer: `{"token":"","access_token":"%s","expires_in":"3600","issued_at":null}`}),
		q("skewed", "issued_at is a day ago", "a token server whose clock is wrong", tokenServer{answer: `{"token":"%s","expires_in":300,"issued_at":"2020-01-01T00:00:00Z"}`}),
		q("placeholder", "the challenge names the scope of another repository", "a fixed challenge in a gateway", tokenServer{challenge: `Bearer realm="%s",service="x",scope="repository:user/image:pull"`}),
		q("no-scope", "the challenge names no scope", "older registries", tokenServer{challenge: `Bearer realm="%s",service="x"`}),
		q("basic-first", "Basic stands before Bearer in one header", "Nexus and Artifactory with anonymous pulls", tokenServer{challenge: `Basic realm="x", Bearer realm="%s?account=anon",service="a, b",scope="repository:odd/app:pull"`}),
		q("three-uses", "a token is good for three requests", "tokens that end while a pull runs", tokenServer{uses: 3}),
		q("slow", "the token server takes 12 s", "token servers under load", tokenServer{delay: 12 * time.Second}),
	}
}

// vanity sends everything but the ping to another registry, which wants a token.
func vanity(challenge bool) Layer {
	return func(s *Stage, next http.Handler) http.Handler {
		base := s.Host(tokens(tokenServer{})(s, next))
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case challenge && r.Header.Get("Authorization") == "":
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="registry.test",scope="repository:odd/app:pull"`, base))
				sayError(w, r, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
			case isPing(r):
				say(w, r, http.StatusOK, "application/json", "{}")
			default:
				redirect(w, http.StatusTemporaryRedirect, base+r.URL.RequestURI())
			}
		})
	}
}

// connections are about what happens to a connection after an answer.
func connections() []Quirk {
	return []Quirk{
		{Name: "conn-close-each", About: "every answer closes its connection", Source: "load balancers", Registry: []Layer{changed(isAny, func(_ *http.Request, a *answer) { a.header.Set("Connection", "close") })}},
		{Name: "conn-dead-on-reuse", About: "a connection that is used again is closed without an answer", Source: "idle times that differ between two proxies", Registry: []Layer{deadOnReuse}},
	}
}

func deadOnReuse(s *Stage, next http.Handler) http.Handler {
	var seen sync.Map
	return replaced(func(r *http.Request) bool {
		_, again := seen.LoadOrStore(r.RemoteAddr, true)
		return again
	}, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })(s, next)
}
