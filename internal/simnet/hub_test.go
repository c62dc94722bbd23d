package simnet_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/simnet"
)

var alpine = simnet.Image{
	Repo: "library/alpine", Tags: []string{"3", "latest"},
	Layers: []simnet.Layer{{Size: 100_000, Seed: 1}, {Size: 5000, Seed: 2, Files: map[string]string{"etc/motd": "hello"}}},
}

// start is a Net with one hub of alpine.
func start(t *testing.T, cfg simnet.HubConfig) (*simnet.Net, *simnet.Hub) {
	t.Helper()
	n := simnet.New(simnet.Config{})
	t.Cleanup(n.Close)
	cfg.Name = "hub"
	if cfg.Images == nil && cfg.Backend == nil {
		cfg.Images = []simnet.Image{alpine}
	}
	return n, n.AddHub(cfg)
}

// An answer is a response, read whole.
type answer struct {
	*http.Response
	body []byte
	err  error // of reading the body
}

// ask does one request; header is pairs. It fails the test when there is no response.
func ask(t *testing.T, c *http.Client, method, url string, header ...string) answer {
	t.Helper()
	a, err := try(t, c, method, url, header...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func try(t *testing.T, c *http.Client, method, url string, header ...string) (answer, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // of what never ends by itself
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp, body, err}, nil
}

// token asks the hub's token server as a client does after a challenge.
func token(t *testing.T, c *http.Client, challenge string, login ...string) answer {
	t.Helper()
	q := url.Values{}
	realm := ""
	for part := range strings.SplitSeq(strings.TrimPrefix(challenge, "Bearer "), ",") {
		k, v, _ := strings.Cut(part, "=")
		v = strings.Trim(v, `"`)
		switch k {
		case "realm":
			realm = v
		case "service", "scope":
			q.Add(k, v)
		}
	}
	var h []string
	if len(login) > 0 {
		req := http.Request{Header: http.Header{}}
		req.SetBasicAuth(login[0], login[1])
		h = []string{"Authorization", req.Header.Get("Authorization")}
	}
	return ask(t, c, "GET", realm+"?"+q.Encode(), h...)
}

// bearer does the whole dance for a path, and returns the Authorization.
func bearer(t *testing.T, c *http.Client, hub *simnet.Hub, path string, login ...string) string {
	t.Helper()
	first := ask(t, c, "GET", hub.URL()+path)
	if first.StatusCode != http.StatusUnauthorized {
		t.Fatalf("without a token: %s", first.Status)
	}
	got := token(t, c, first.Header.Get("WWW-Authenticate"), login...)
	var doc struct {
		Token string
		TTL   int `json:"expires_in"`
	}
	if err := json.Unmarshal(got.body, &doc); err != nil || doc.Token == "" || doc.TTL == 0 {
		t.Fatalf("token answer %s: %v", got.body, err)
	}
	return "Bearer " + doc.Token
}

func TestPullThroughTokensAndCDN(t *testing.T) {
	t.Parallel()
	n, hub := start(t, simnet.HubConfig{})
	want, c := alpine.Build(), n.Client()
	auth := bearer(t, c, hub, want.Path())

	m := ask(t, c, "GET", hub.URL()+want.Path(), "Authorization", auth)
	if m.StatusCode != 200 || m.Header.Get("Docker-Content-Digest") != want.Root.Digest.String() || digest.FromBytes(m.body) != want.Root.Digest {
		t.Fatalf("manifest: %s %v", m.Status, m.Header)
	}
	head := ask(t, c, "HEAD", hub.URL()+want.ManifestPath(want.Root.Digest.String()), "Authorization", auth)
	if head.ContentLength != want.Root.Size || head.Header.Get("Content-Type") != simnet.TypeOCIManifest {
		t.Errorf("HEAD: length %d, %v", head.ContentLength, head.Header)
	}
	layer, bytesOfLayer := want.Layer(0)
	blob := ask(t, c, "GET", hub.URL()+want.BlobPath(layer.Digest), "Authorization", auth)
	// Go's client keeps Authorization for another port of one host (docs/faults.md 11.4): S3 refuses that.
	if blob.StatusCode != 400 || !strings.Contains(string(blob.body), "Only one auth mechanism allowed") {
		t.Errorf("CDN with Authorization: %s %s", blob.Status, blob.body)
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	hop := ask(t, c, "GET", hub.URL()+want.BlobPath(layer.Digest), "Authorization", auth)
	if hop.StatusCode != 307 || !strings.HasPrefix(hop.Header.Get("Location"), hub.CDN.URL()) {
		t.Fatalf("blob at the hub: %s to %q", hop.Status, hop.Header.Get("Location"))
	}
	blob = ask(t, c, "GET", hop.Header.Get("Location"))
	if !bytes.Equal(blob.body, bytesOfLayer) || blob.Header.Get("Docker-Content-Digest") != "" {
		t.Errorf("blob: %s, %d bytes, %v", blob.Status, len(blob.body), blob.Header)
	}
	hub.CDN.ExpireURLs()
	if late := ask(t, c, "GET", hop.Header.Get("Location")); late.StatusCode != 403 || !strings.Contains(string(late.body), "<Code>AccessDenied</Code>") {
		t.Errorf("expired URL: %s %s", late.Status, late.body)
	}
	if got := n.Ledger().Count(simnet.Filter{Server: "hub-auth", Class: simnet.Token}); got != 1 {
		t.Errorf("%d token calls", got)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	private := simnet.Image{Repo: "corp/app", Tags: []string{"1"}}
	n, hub := start(t, simnet.HubConfig{
		Images: []simnet.Image{alpine, private},
		Auth:   simnet.AuthConfig{Users: map[string]string{"ann": "secret"}, Private: []string{"corp/app"}},
	})
	c := n.Client()
	publicPath, privatePath := alpine.Build().Path(), private.Build().Path()
	status := func(path, auth string) int { return ask(t, c, "GET", hub.URL()+path, "Authorization", auth).StatusCode }

	anon := bearer(t, c, hub, publicPath)
	if got := status(publicPath, anon); got != 200 {
		t.Errorf("anonymous, public: %d", got)
	}
	if got := status(privatePath, anon); got != 401 {
		t.Errorf("token of another scope: %d", got)
	}
	if got := status(privatePath, bearer(t, c, hub, privatePath)); got != 401 {
		t.Errorf("anonymous, private: %d", got)
	}
	ann := bearer(t, c, hub, privatePath, "ann", "secret")
	if got := status(privatePath, ann); got != 200 {
		t.Errorf("ann, private: %d", got)
	}
	challenge := ask(t, c, "GET", hub.URL()+privatePath).Header.Get("WWW-Authenticate")
	if got := token(t, c, challenge, "ann", "wrong"); got.StatusCode != 401 {
		t.Errorf("wrong password: %s", got.Status)
	}
	hub.Auth.ExpireTokens()
	expired := ask(t, c, "GET", hub.URL()+privatePath, "Authorization", ann)
	if expired.StatusCode != 401 || !strings.Contains(expired.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("expired token: %s %v", expired.Status, expired.Header)
	}
	hub.RejectTokens(true)
	if got := status(publicPath, bearer(t, c, hub, publicPath)); got != 401 {
		t.Errorf("401 loop: %d", got)
	}
	hub.RejectTokens(false)
	hub.SetRealm("http://10.0.0.1/token")
	if got := ask(t, c, "GET", hub.URL()+"/v2/").Header.Get("WWW-Authenticate"); !strings.Contains(got, `realm="http://10.0.0.1/token"`) {
		t.Errorf("challenge %q", got)
	}
	if got := n.Ledger().Leaks("secret", "hub-auth"); len(got) != 0 {
		t.Errorf("the password was seen elsewhere: %v", got)
	}
	if got := n.Ledger().Leaks("secret"); len(got) != 1 {
		t.Errorf("Leaks finds the password in %d requests", len(got))
	}
}

func TestTokenTimes(t *testing.T) {
	t.Parallel()
	n, hub := start(t, simnet.HubConfig{
		Auth: simnet.AuthConfig{TTL: time.Nanosecond, Field: "access_token", NoExpires: true},
	})
	tok := hub.Auth.Issue("", "repository:library/alpine:pull,push")
	path := hub.URL() + alpine.Build().Path()
	if got := ask(t, n.Client(), "GET", path, "Authorization", "Bearer "+tok); got.StatusCode != 401 {
		t.Errorf("old token: %s", got.Status)
	}
	got := ask(t, n.Client(), "GET", hub.Auth.Realm()+"?service=hub&scope=repository:a:pull&scope=repository:b:pull")
	var doc map[string]any
	if err := json.Unmarshal(got.body, &doc); err != nil {
		t.Fatal(err)
	}
	if doc["access_token"] == nil || doc["token"] != nil || doc["expires_in"] != nil {
		t.Errorf("fields: %s", got.body)
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()
	n, hub := start(t, simnet.HubConfig{Open: true, Direct: true, Quota: simnet.Quota{Limit: 2}})
	c, img := n.Client(), alpine.Build()
	path := hub.URL() + img.Path()
	for range 3 {
		if got := ask(t, c, "HEAD", path); got.StatusCode != 200 || got.Header.Get("ratelimit-remaining") != "2;w=21600" {
			t.Fatalf("HEAD: %s %v", got.Status, got.Header)
		}
	}
	for left := 1; left >= 0; left-- {
		got := ask(t, c, "GET", path)
		want := fmt.Sprintf("%d;w=21600", left)
		if got.StatusCode != 200 || got.Header.Get("ratelimit-remaining") != want || got.Header.Get("ratelimit-limit") != "2;w=21600" {
			t.Fatalf("GET: %s %v, want remaining %s", got.Status, got.Header, want)
		}
	}
	spent := ask(t, c, "GET", path)
	if spent.StatusCode != 429 || !strings.Contains(string(spent.body), `"TOOMANYREQUESTS"`) || spent.Header.Get("Retry-After") != "" {
		t.Errorf("spent: %s %v %s", spent.Status, spent.Header, spent.body)
	}
	if got := ask(t, c, "HEAD", path); got.StatusCode != 200 {
		t.Errorf("HEAD when spent: %s", got.Status)
	}
	layer, _ := img.Layer(0)
	if got := ask(t, c, "GET", hub.URL()+img.BlobPath(layer.Digest)); got.StatusCode != 200 {
		t.Errorf("blob when spent: %s", got.Status)
	}
	if got := hub.Remaining("127.0.0.1"); got != 0 {
		t.Errorf("remaining %d", got)
	}

	hub.SetQuota(simnet.Quota{Limit: 5, RetryAfter: 90 * time.Minute, RetryDate: true, Malformed: true})
	hub.SetRemaining("127.0.0.1", 0)
	got := ask(t, c, "GET", path)
	if at, err := http.ParseTime(got.Header.Get("Retry-After")); err != nil || time.Until(at) < 80*time.Minute {
		t.Errorf("Retry-After %q: %v", got.Header.Get("Retry-After"), err)
	}
	if got.Header.Get("ratelimit-limit") != ";w=21600" {
		t.Errorf("malformed header: %q", got.Header.Get("ratelimit-limit"))
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	n, hub := start(t, simnet.HubConfig{Open: true, Direct: true})
	img := alpine.Build()
	layer, whole := img.Layer(0)
	size := len(whole)
	etag := `"` + layer.Digest.String() + `"`
	for _, tt := range []struct {
		header       []string
		status       int
		contentRange string
		body         []byte
	}{
		{nil, 200, "", whole},
		{[]string{"Range", "bytes=100-199"}, 206, fmt.Sprintf("bytes 100-199/%d", size), whole[100:200]},
		{[]string{"Range", "bytes=5000-"}, 206, fmt.Sprintf("bytes 5000-%d/%d", size-1, size), whole[5000:]},
		{[]string{"Range", "bytes=-10"}, 206, fmt.Sprintf("bytes %d-%d/%d", size-10, size-1, size), whole[size-10:]},
		{[]string{"Range", fmt.Sprintf("bytes=%d-", size)}, 416, fmt.Sprintf("bytes */%d", size), nil},
		{[]string{"Range", "bytes=1-2", "If-Range", etag}, 206, fmt.Sprintf("bytes 1-2/%d", size), whole[1:3]},
		{[]string{"Range", "bytes=1-2", "If-Range", `"other"`}, 200, "", whole},
	} {
		got := ask(t, n.Client(), "GET", hub.URL()+img.BlobPath(layer.Digest), tt.header...)
		if got.StatusCode != tt.status || got.Header.Get("Content-Range") != tt.contentRange {
			t.Errorf("%v: %s, Content-Range %q", tt.header, got.Status, got.Header.Get("Content-Range"))
		}
		if tt.body != nil && !bytes.Equal(got.body, tt.body) {
			t.Errorf("%v: %d bytes, want %d others", tt.header, len(got.body), len(tt.body))
		}
	}
	if got := n.Ledger().Count(simnet.Filter{Class: simnet.Blobs, Ranged: true}); got != 6 {
		t.Errorf("%d ranged requests in the ledger", got)
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	subject := alpine.Build().Root.Digest
	images := []simnet.Image{
		{Repo: "a/b", Tags: []string{"1", "2", "3"}},
		alpine,
		{Repo: "library/alpine", ArtifactType: "application/vnd.example.sbom", Subject: subject},
		{Repo: "library/alpine", ArtifactType: "application/vnd.example.sig", Subject: subject, Layers: []simnet.Layer{{Size: 9}}},
	}
	n, hub := start(t, simnet.HubConfig{Open: true, Direct: true, Images: images, AbsoluteLinks: true})
	c := n.Client()
	for _, tt := range []struct{ query, body, link string }{
		{"", `{"name":"a/b","tags":["1","2","3"]}`, ""},
		{"?n=2", `{"name":"a/b","tags":["1","2"]}`, "<" + hub.URL() + `/v2/a/b/tags/list?last=2&n=2>; rel="next"`},
		{"?n=2&last=2", `{"name":"a/b","tags":["3"]}`, ""},
		{"?n=0", `{"name":"a/b","tags":[]}`, ""},
	} {
		got := ask(t, c, "GET", hub.URL()+"/v2/a/b/tags/list"+tt.query)
		if diff := cmp.Diff([]string{tt.body, tt.link}, []string{string(got.body), got.Header.Get("Link")}); diff != "" {
			t.Errorf("%q: %s", tt.query, diff)
		}
	}
	base := hub.URL() + "/v2/library/alpine/referrers/" + subject.String()
	var all, one struct{ Manifests []simnet.Descriptor }
	a, b := ask(t, c, "GET", base), ask(t, c, "GET", base+"?artifactType=application/vnd.example.sig")
	if err := json.Unmarshal(a.body, &all); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b.body, &one); err != nil {
		t.Fatal(err)
	}
	if len(all.Manifests) != 2 || len(one.Manifests) != 1 || b.Header.Get("OCI-Filters-Applied") != "artifactType" || a.Header.Get("Content-Type") != simnet.TypeOCIIndex {
		t.Errorf("referrers: %s\nfiltered: %s", a.body, b.body)
	}
}

func TestErrorsAndMethods(t *testing.T) {
	t.Parallel()
	n, hub := start(t, simnet.HubConfig{Open: true, Direct: true, NoReferrers: true})
	unknown := digest.FromString("nobody has this")
	for _, tt := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/v2/", 200, "{}"},
		{"GET", "/v2/library/alpine/manifests/nope", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/library/none/manifests/1", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/library/alpine/blobs/" + unknown.String(), 404, "BLOB_UNKNOWN"},
		{"GET", "/v2/library/alpine/blobs/sha256:abc", 400, "DIGEST_INVALID"},
		{"GET", "/v2/library/none/tags/list", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/library/alpine/referrers/" + unknown.String(), 404, "404 page not found"},
		{"PUT", "/v2/library/alpine/manifests/3", 405, "UNSUPPORTED"},
	} {
		got := ask(t, n.Client(), tt.method, hub.URL()+tt.path)
		if got.StatusCode != tt.status || !strings.Contains(string(got.body), tt.code) {
			t.Errorf("%s %s: %s %s", tt.method, tt.path, got.Status, got.body)
		}
	}
	img := alpine.Build()
	got := ask(t, n.Client(), "GET", hub.URL()+img.Path(), "If-None-Match", `"`+img.Root.Digest.String()+`"`)
	if got.StatusCode != 304 {
		t.Errorf("If-None-Match: %s", got.Status)
	}
}

// TestImagesAreReal unpacks an image by what its documents say.
func TestImagesAreReal(t *testing.T) {
	t.Parallel()
	multi := simnet.Image{Repo: "r", Tags: []string{"1"}, Docker: true, Platforms: []string{"linux/amd64", "linux/arm64"}, Layers: alpine.Layers}
	c := multi.Build()
	if c.Root.MediaType != simnet.TypeDockerList || len(c.Index) != 2 || len(c.LayerList) != 2 {
		t.Fatalf("index: %+v", c.Root)
	}
	if c.LayerList[0][0].Digest == c.LayerList[1][0].Digest {
		t.Error("two platforms share a layer")
	}
	if diff := cmp.Diff(c, multi.Build()); diff != "" {
		t.Errorf("two builds differ: %s", diff)
	}
	for p := range c.Index {
		var cfg struct {
			Architecture string
			RootFS       struct {
				DiffIDs []digest.Digest `json:"diff_ids"`
			}
		}
		if err := json.Unmarshal(c.Blobs[c.Configs[p].Digest], &cfg); err != nil {
			t.Fatal(err)
		}
		for i, l := range c.LayerList[p] {
			gz, err := gzip.NewReader(bytes.NewReader(c.Blobs[l.Digest]))
			if err != nil {
				t.Fatal(err)
			}
			tarball, err := io.ReadAll(gz)
			if err != nil {
				t.Fatal(err)
			}
			if got := digest.FromBytes(tarball); got != cfg.RootFS.DiffIDs[i] {
				t.Errorf("layer %d: diff id %s, the config says %s", i, got, cfg.RootFS.DiffIDs[i])
			}
			var size int64
			for tr := tar.NewReader(bytes.NewReader(tarball)); ; {
				h, err := tr.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				size += h.Size
			}
			if want := multi.Layers[i].Size; size < want || l.Size > want+4096 {
				t.Errorf("layer %d: files of %d bytes in a blob of %d, wanted about %d", i, size, l.Size, want)
			}
		}
	}
	big := simnet.Image{Repo: "big", Layers: []simnet.Layer{simnet.BigLayer(12345, 1)}}.Build()
	if d, b := big.Layer(0); d.Size != 12345 || len(b) != 12345 {
		t.Errorf("BigLayer: %d", d.Size)
	}
}

func TestAcceptChoosesTheManifest(t *testing.T) {
	t.Parallel()
	multi := simnet.Image{Repo: "r", Tags: []string{"1"}, Platforms: []string{"linux/arm64", "linux/amd64"}}
	n, hub := start(t, simnet.HubConfig{Open: true, Direct: true, Images: []simnet.Image{multi}})
	c := multi.Build()
	for accept, want := range map[string]digest.Digest{
		simnet.TypeOCIIndex:                    c.Root.Digest,
		simnet.TypeOCIManifest + ", */*;q=0.1": c.Root.Digest,
		simnet.TypeOCIManifest:                 c.Index[1].Digest, // amd64
	} {
		got := ask(t, n.Client(), "GET", hub.URL()+c.Path(), "Accept", accept)
		if got.Header.Get("Docker-Content-Digest") != want.String() || digest.FromBytes(got.body) != want {
			t.Errorf("Accept %q: %v", accept, got.Header)
		}
	}
}
