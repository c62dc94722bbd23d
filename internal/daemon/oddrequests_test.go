package daemon_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/quirks"
	"github.com/pullchain/pullchain/internal/simnet"
)

// What TestF55_OddRequests plays. The seed is a name for its requests and profiles.
const (
	oddSeed     = 49
	oddProfiles = 40
	oddRequests = 200
)

// Odd requests, whatever names, queries, headers, ranges and methods, cost no ordinary
// pull: after each, one that is not in the cache gets what it gets directly, at registries
// of forty kinds (docs/faults.md F55). With -short each has a tenth of them.
func TestF55_OddRequests(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	mirror := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "mirror"}})
	profiles := chooseProfiles(t)
	var tables strings.Builder
	for i, p := range profiles {
		fmt.Fprintf(&tables, "[[registry]]\nname = \"p%d.test\"\n", i)
		tables.WriteString(lane{Name: p.quirk.Name, URL: p.serve(t), Origin: true}.toml(caFile(t, n)))
	}
	chain := []lane{{Name: "mirror", URL: mirror.URL()}}
	kept := fmt.Sprintf("dir = %q", t.TempDir())
	rigs := []*rig{
		newRig(t, rigConfig{Net: n, Chain: chain, Top: tables.String()}),
		newRig(t, rigConfig{Net: n, Chain: chain, Top: tables.String(), Cache: kept}),
	}
	t.Run("profiles", func(t *testing.T) { // the rigs end after all of them
		for i, p := range profiles {
			t.Run(p.quirk.Name, func(t *testing.T) {
				t.Parallel()
				r := *rigs[i%len(rigs)]
				r.t = t
				p.throw(t, &r, fmt.Sprintf("/v2/p%d.test/", i), uint64(i))
			})
		}
	})
}

// throw makes the odd requests at the registry below base, and an ordinary pull after each.
func (p *profile) throw(t *testing.T, r *rig, base string, seed uint64) {
	requests := oddRequestsOf(rand.New(rand.NewPCG(oddSeed, seed)))
	if testing.Short() {
		requests = requests[seed%10*oddRequests/10:][:oddRequests/10]
	}
	for i, odd := range requests {
		// By turns of what the odd request was about, and of what was never asked for.
		img := p.push(fmt.Sprintf("good/app%d", i))
		did := odd.send(t, r, base, img)
		if i%2 == 1 {
			img = p.push(fmt.Sprintf("good/other%d", i))
		}
		for path, want := range map[string][]byte{img.repo + "/manifests/1": img.manifest, img.repo + "/blobs/" + img.layerDigest: img.layer} {
			if got := r.get(base + path); got.Status != http.StatusOK || got.Err != nil || !bytes.Equal(got.Body, want) {
				t.Errorf("after %d odd requests, the last %s: GET %s: status %d, %v; body %.600q", i+1, did, path, got.Status, got.Err, got.Body)
				return
			}
		}
	}
	if !strings.HasPrefix(p.quirk.Name, "strict-") {
		return
	}
	// What a registry refuses of odd requests has closed nothing, so no pull had to be forced.
	s := r.Daemon.Snapshot()
	l := s.Find(strings.Trim(strings.TrimPrefix(base, "/v2"), "/")).Lanes[0]
	for _, b := range l.Breakers {
		if b.Trips > 0 {
			t.Errorf("the breaker for %s has tripped: %+v", b.Class, b)
		}
	}
	if l.State != balancer.StateServing {
		t.Errorf("the upstream is %q: gates %+v", l.State, l.Gates)
	}
}

// A profile is a registry of one kind, and what is in it.
type profile struct {
	quirk quirks.Quirk
	good  *quirks.Registry
}

// chooseProfiles returns the strict ones, and as many of quirks as there is room for: such
// as let an ordinary pull through directly.
func chooseProfiles(t *testing.T) []*profile {
	t.Helper()
	all := quirks.All()
	rand.New(rand.NewPCG(oddSeed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	var chosen []*profile
	for _, q := range append(strictQuirks(), all...) {
		if q.Slow || len(chosen) == oddProfiles {
			continue
		}
		if p := (&profile{q, quirks.NewRegistry()}); p.worksDirectly(t) {
			p.good = quirks.NewRegistry()
			chosen = append(chosen, p)
		}
	}
	if len(chosen) != oddProfiles {
		t.Fatalf("%d profiles", len(chosen))
	}
	return chosen
}

// serve serves the registry with its quirk, whose state begins with each call.
func (p *profile) serve(t *testing.T) string {
	t.Helper()
	at := func(h http.Handler) string {
		s := httptest.NewUnstartedServer(h)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.Start()
		t.Cleanup(s.Close)
		return s.URL
	}
	return at(p.quirk.Handler(p.good, at))
}

// worksDirectly reports whether a plain client gets a manifest and a blob, twice.
func (p *profile) worksDirectly(t *testing.T) bool {
	t.Helper()
	base := p.serve(t) + "/v2/"
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for i := range 2 {
		img := p.push(fmt.Sprint("good/direct", i))
		if fetchPart(t.Context(), client, http.MethodGet, base+img.repo+"/manifests/1", digest.FromBytes(img.manifest)) != nil ||
			fetchPart(t.Context(), client, http.MethodGet, base+img.repo+"/blobs/"+img.layerDigest, digest.FromBytes(img.layer)) != nil {
			return false
		}
	}
	return true
}

// plainImage is an image of one small layer.
type plainImage struct {
	repo, layerDigest string
	manifest, layer   []byte
}

func (p *profile) push(repo string) plainImage {
	img := plainImage{repo: repo, layer: bytes.Repeat([]byte(repo), 300)}
	img.layerDigest = p.good.PutBlob(repo, img.layer)
	img.manifest = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		simnet.TypeOCIManifest, simnet.TypeOCIConfig, img.layerDigest, len(img.layer), simnet.TypeOCILayer, img.layerDigest, len(img.layer))
	p.good.PutManifest(repo, "1", simnet.TypeOCIManifest, img.manifest)
	return img
}

// strictQuirks are registries that refuse what is odd, or break over it.
func strictQuirks() []quirks.Quirk {
	refuse := func(name string, status int, is func(*http.Request) bool) quirks.Quirk {
		return quirks.Quirk{Name: "strict-" + name, Registry: []quirks.Layer{func(_ *quirks.Stage, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !is(r) {
					next.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(status)
				fmt.Fprintf(w, `{"errors":[{"code":"UNSUPPORTED","message":"no %s"}]}`, name)
			})
		}}}
	}
	headerBytes := func(r *http.Request) (n int) {
		for name, values := range r.Header {
			n += len(name) + len(strings.Join(values, ", "))
		}
		return n
	}
	unheard := func(r *http.Request) bool {
		for name := range r.URL.Query() {
			if name != "n" && name != "last" && name != "artifactType" && name != "next_page" {
				return true
			}
		}
		return false
	}
	return []quirks.Quirk{
		refuse("headers-431", 431, func(r *http.Request) bool { return headerBytes(r) > 4<<10 }),
		refuse("headers-500", 500, func(r *http.Request) bool { return headerBytes(r) > 4<<10 }),
		refuse("names-414", 414, func(r *http.Request) bool { return len(r.RequestURI) > 300 }),
		refuse("names-500", 500, func(r *http.Request) bool { return strings.Contains(r.URL.Path, "none/") }),
		refuse("names-502", 502, func(r *http.Request) bool { return strings.Contains(r.URL.Path, "none/") }),
		refuse("names-429", 429, func(r *http.Request) bool { return strings.Contains(r.URL.Path, "none/") }),
		refuse("queries-500", 500, unheard),
		refuse("types-404", 404, func(r *http.Request) bool {
			return strings.Contains(r.URL.Path, "/manifests/") && !strings.Contains(r.Header.Get("Accept"), simnet.TypeOCIManifest)
		}),
		refuse("ranges-500", 500, func(r *http.Request) bool { return r.Header.Get("Range") != "" }),
	}
}

// An oddRequest is what no ordinary client asks for. In the strings {repo}, {manifest}
// and {layer} are those of an image that has just been pushed.
type oddRequest struct {
	method, name, part, query string
	headers                   []string // "Name: value"
	leaves                    bool     // before it has read the answer
}

// send makes the request, and tells what it was.
func (o oddRequest) send(t *testing.T, r *rig, base string, img plainImage) string {
	t.Helper()
	sum := sha256.Sum256(img.manifest)
	fill := strings.NewReplacer("{repo}", img.repo, "{manifest}", "sha256:"+hex.EncodeToString(sum[:]), "{layer}", img.layerDigest)
	at := fill.Replace(base + o.name + "/" + o.part)
	req, err := http.NewRequestWithContext(t.Context(), o.method, "http://"+r.Daemon.Addr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.URL = &url.URL{Scheme: "http", Host: r.Daemon.Addr(), Opaque: at, RawQuery: o.query}
	for _, header := range o.headers {
		name, value, _ := strings.Cut(header, ": ")
		if name == "Host" {
			req.Host = value
		}
		req.Header.Add(name, value)
	}
	said := fmt.Sprintf("%s %.200s?%.100s %.200q", o.method, at, o.query, o.headers)
	resp, err := r.client.Do(req)
	if err != nil {
		return fmt.Sprintf("%s: %v", said, err)
	}
	defer resp.Body.Close()
	if !o.leaves {
		io.Copy(io.Discard, resp.Body)
	}
	return fmt.Sprintf("%s: %d", said, resp.StatusCode)
}

// The parts that odd requests are made of; the first of each is ordinary.
var (
	oddMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"}
	oddNames   = []string{
		"{repo}", "odd/app", "none/app", "none/other", "none/third", "none/" + strings.Repeat("x", 200), strings.Repeat("x", 300), strings.Repeat("a/", 60) + "a",
		"Upper/Case", "good/../good", "%2e%2e/x", "x%2fy", "%C3%BC/x", "good//app", "{repo}/manifests", "-", "p1.test/{repo}", "v2/{repo}", "a.b.c:443/x",
	}
	oddParts = []string{
		"manifests/1", "manifests/{manifest}", "blobs/{layer}", "tags/list", "referrers/{manifest}", "manifests/none", "manifests/" + strings.Repeat("t", 128), "manifests/" + strings.Repeat("t", 129),
		"manifests/{layer}", "blobs/{manifest}", "manifests/sha256:" + strings.Repeat("0", 64), "blobs/sha256:" + strings.Repeat("0", 64), "blobs/sha512:" + strings.Repeat("1", 128),
		"blobs/sha256:zz", "blobs/sha256%3A" + strings.Repeat("2", 64), "manifests/..", "manifests/%00", "blobs/uploads/", "referrers/none", "_catalog", "tags/list/", "", "manifests/1/", "manifests/@",
	}
	oddQueries = []string{
		"", "n=1", "n=0", "n=-1", "n=999999999", "n=99999999999", "n=x", "last=b", "last=" + strings.Repeat("l", 1900), "last=" + strings.Repeat("l", 9000), "next_page=y", "artifactType=a/b",
		"x=1", "debug=true&trace=1", strings.Repeat("a=b&", 30), "ns=evil.example", "ns=p3.test", "%zz", "a;b", "ns=", "last=%00", "q=%27%20or%201=1",
	}
	oddHeaders = [][]string{
		nil,
		{"Accept: " + strings.Repeat("application/vnd.example.long.type.v1+json, ", 650) + "*/*"},
		{"Accept: text/html"}, {"Accept: \xff\xfe"}, {"Accept: application/vnd.docker.distribution.manifest.v1+prettyjws"}, {"Accept: "}, {"Accept: ,,;;,q=0"},
		{"Accept: " + simnet.TypeOCIManifest + ";q=0"}, {"Accept: application/json", "Accept: text/*"},
		{"Range: bytes=0-"}, {"Range: bytes=5-"}, {"Range: bytes=-1"}, {"Range: bytes=0-0"}, {"Range: bytes=999999-"}, {"Range: bytes=7-3"}, {"Range: lines=1-2"}, {"Range: bytes=0-1,5-6"},
		{"Range: bytes=0-99999999999999999999"}, {"Range: bytes=" + strings.TrimSuffix(strings.Repeat("1-2,", 500), ",")}, {"Range: bytes=0-1", "Range: bytes=3-4"},
		{"Range: bytes=0-3", `If-Range: "x"`}, {`If-None-Match: "x", *`}, {"If-Match: *"}, {"If-Modified-Since: Mon, 30 Nov 2026 00:00:00 GMT"},
		{"Authorization: Basic c2VjcmV0OnNlY3JldA=="}, {"Authorization: Bearer " + strings.Repeat("j", 9000)}, {"Cookie: a=" + strings.Repeat("c", 8000)},
		{"X-Forwarded-For: 10.0.0.1, ::1"}, {"Host: evil.example"}, {"Sec-Fetch-Site: cross-site"}, {"Expect: 100-continue"}, {"Accept-Encoding: br, gzip;q=0"}, {"Connection: Accept, Host"},
		{"Cache-Control: no-store", "Pragma: no-cache"}, {"X-Junk: " + strings.Repeat("x", 50<<10)}, {"X-Junk: " + strings.Repeat("x", 90<<10)}, {"User-Agent: "}, {"Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"},
	}
)

// oddRequestsOf returns as many as oddRequests says: each oddity by itself, and then several
// at once.
func oddRequestsOf(rng *rand.Rand) []oddRequest {
	plain := oddRequest{method: "GET", name: "{repo}", part: "manifests/1"}
	var all []oddRequest
	add := func(change func(*oddRequest)) {
		o := plain
		change(&o)
		all = append(all, o)
	}
	for _, method := range oddMethods[1:] {
		add(func(o *oddRequest) { o.method = method })
	}
	for _, name := range oddNames[1:] {
		add(func(o *oddRequest) { o.name = name })
	}
	for _, part := range oddParts[1:] {
		add(func(o *oddRequest) { o.part = part })
	}
	for _, query := range oddQueries[1:] {
		add(func(o *oddRequest) { o.part, o.query = "tags/list", query })
	}
	for _, headers := range oddHeaders[1:] {
		add(func(o *oddRequest) { o.headers = headers })
		add(func(o *oddRequest) { o.headers, o.part = headers, "blobs/{layer}" })
	}
	for len(all) < oddRequests {
		add(func(o *oddRequest) {
			o.method, o.name, o.part = pick(rng, []string{"GET", "GET", "HEAD"}), pick(rng, oddNames), pick(rng, oddParts)
			o.query, o.headers, o.leaves = pick(rng, oddQueries), pick(rng, oddHeaders), rng.IntN(4) == 0
		})
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:oddRequests]
}

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }
