package daemon_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

// The tests of this file count what a pull costs upstream (issue 2, "Seen in a
// ledger test").

// manyLayers is an image of 64 small layers.
func manyLayers() simnet.Image {
	img := simnet.Image{Repo: "library/many", Tags: []string{"1"}}
	for i := range 64 {
		img.Layers = append(img.Layers, simnet.Layer{Size: 2 << 10, Seed: uint64(i + 1)})
	}
	return img
}

// hubRig is a daemon over one hub with tokens, a quota and a CDN.
type hubRig struct {
	*rig
	hub   *simnet.Hub
	image *simnet.Content
}

func newHubRig(t testing.TB, images ...simnet.Image) *hubRig {
	t.Helper()
	n := newNet(t)
	h := &hubRig{image: n.Build(images[0])}
	h.hub = n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: images, Quota: simnet.Quota{Limit: 10000}})
	h.rig = newRig(t, rigConfig{Net: n, Chain: []lane{{Name: "hub", URL: h.hub.URL(), Origin: true}}})
	return h
}

// TestLedger_HeadIsHead: a client's HEAD is a HEAD upstream, wherever it is
// answered from, and spends no counted GET (docs/protocol.md 4.1).
func TestLedger_HeadIsHead(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	images := []simnet.Image{alpine}
	image := n.Build(alpine)
	first := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "first"}, Images: images, Quota: simnet.Quota{Limit: 10}})
	second := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "second"}, Images: images, Quota: simnet.Quota{Limit: 10}})
	r := newRig(t, rigConfig{Net: n, Chain: []lane{{Name: "first", URL: first.URL()}, {Name: "second", URL: second.URL()}}})
	r.probed("first", "second")

	layer, _ := image.Layer(0)
	paths := []string{image.Path(), image.ManifestPath(image.Root.Digest.String()), image.BlobPath(layer.Digest)}
	heads := func() {
		for _, path := range paths {
			got := r.do(http.MethodHead, path)
			if got.Status != http.StatusOK || len(got.Body) != 0 || got.Header.Get("Content-Length") == "" {
				t.Errorf("HEAD %s: %d %v", path, got.Status, got.Header)
			}
		}
	}
	heads()
	heads()
	lift := first.Inject(simnet.Fault{Status: 502})
	heads()
	lift()
	for _, hub := range []*simnet.Hub{first, second} {
		if left := hub.Remaining("127.0.0.1"); left != 10 {
			t.Errorf("%s counted %d pulls", hub.Name(), 10-left)
		}
		for _, server := range []string{hub.Name(), hub.CDN.Name()} {
			r.wantAsked(server, http.MethodGet, simnet.Manifests|simnet.Blobs, 0)
		}
	}
	// Each HEAD was one HEAD: two rounds of three, and those that the fault met.
	if n := r.asked("second", http.MethodHead, simnet.Manifests|simnet.Blobs); n < 3 {
		t.Errorf("the second hub saw %d HEADs, want at least 3", n)
	}
	r.wantAsked("first", http.MethodHead, simnet.Manifests, len(r.net.Ledger().Find(simnet.Filter{Server: "first", Class: simnet.Manifests})))
}

// TestLedger_ColdHeadIsHead: also with nothing known, when the registry has to
// refuse first, a token has to be had, and the first digest that a HEAD names is looked for.
func TestLedger_ColdHeadIsHead(t *testing.T) {
	t.Parallel()
	h := newHubRig(t, alpine)
	for range 3 {
		h.do(http.MethodHead, h.image.Path())
	}
	h.wantAsked("hub", http.MethodGet, simnet.Manifests, 0)
	if n := h.asked("hub", http.MethodHead, simnet.Manifests); n < 3 || n > 5 {
		t.Errorf("%d HEADs, want one each, one refusal and one look for a digest at most", n)
	}
}

// TestLedger_NoHeadBeforeGet: a blob is asked for by GET at once, whole and in
// part: cold caches answer 404 to HEAD (docs/protocol.md 4.8), and it would cost a
// round trip.
func TestLedger_NoHeadBeforeGet(t *testing.T) {
	t.Parallel()
	h := newHubRig(t, alpine)
	h.probed("hub")
	h.get(h.image.Path())
	layer, content := h.image.Layer(1)
	h.wantBytes(h.image.BlobPath(layer.Digest), content)
	got := h.get(h.image.BlobPath(layer.Digest), "Range", "bytes=100-")
	if got.Status != http.StatusPartialContent || !bytes.Equal(got.Body, content[100:]) {
		t.Errorf("%d, %d bytes", got.Status, len(got.Body))
	}
	for _, server := range []string{"hub", "hub-cdn"} {
		h.wantAsked(server, http.MethodHead, simnet.Manifests|simnet.Blobs, 0)
		h.wantAsked(server, http.MethodGet, simnet.Blobs, 2)
	}
	h.wantAsked("hub", http.MethodGet, simnet.Manifests, 1)
}

// TestLedger_OneToken: 64 layers at once need one token for their (realm,
// scope), whether or not the realm is known beforehand; another repository
// needs one more.
func TestLedger_OneToken(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprintf("realm known %t", known), func(t *testing.T) {
			t.Parallel()
			h := newHubRig(t, manyLayers(), alpine)
			if known {
				h.probed("hub")
			}
			pullLayers(t, h.client, h.base(), h.image, 64)
			h.wantAsked("hub-auth", "", simnet.Token, 1)
			h.wantAsked("hub-cdn", http.MethodGet, simnet.Blobs, 64)
			if refused := h.net.Ledger().Count(simnet.Filter{Server: "hub", Class: simnet.Blobs, Status: 401}); known && refused != 0 {
				t.Errorf("%d of 64 requests were refused although the realm was known", refused)
			}
			pullLayers(t, h.client, h.base(), h.image, 64)
			h.wantAsked("hub-auth", "", simnet.Token, 1)
			h.get("/v2/library/alpine/manifests/3")
			h.wantAsked("hub-auth", "", simnet.Token, 2)
		})
	}
}

// TestLedger_WarmConnections: a pull of 64 layers by 8 workers costs one
// request per layer and hop, over few connections that are kept.
func TestLedger_WarmConnections(t *testing.T) {
	t.Parallel()
	const workers = 8
	h := newHubRig(t, manyLayers())
	h.probed("hub")
	ledger := h.net.Ledger()

	h.get(h.image.Path())
	pullLayers(t, h.client, h.base(), h.image, workers)
	pullLayers(t, h.client, h.base(), h.image, workers)
	for what, want := range map[string]int{"hub": 128, "hub-cdn": 128} {
		h.wantAsked(what, http.MethodGet, simnet.Blobs, want)
	}
	through := map[string]int{"hub": ledger.Connections("hub"), "hub-cdn": ledger.Connections("hub-cdn")}

	ledger.Reset()
	direct := newDirect(t, h.net)
	token := direct.login(t, h.hub, h.image.Repo)
	direct.pull(t, h.hub.URL(), h.image, token, workers)
	direct.pull(t, h.hub.URL(), h.image, token, workers)
	t.Logf("connections through the daemon %v; straight: hub %d, CDN %d", through, ledger.Connections("hub"), ledger.Connections("hub-cdn"))
	// A few a worker: Go dials another while the last one is just being given
	// back. To the registry, which is not known to redirect at first, the
	// manifest's comes on top. Without any kept it would be 128.
	for server, most := range map[string]int{"hub": 4 * workers, "hub-cdn": 4 * workers} {
		if got := through[server]; got > most {
			t.Errorf("%d connections to %s for %d workers and 128 layers", got, server, workers)
		}
	}
}

// base is the daemon's URL for this registry.
func (r *rig) base() string { return "http://" + r.Daemon.Addr() }

// pullLayers pulls all layers of img from base with so many workers and checks
// each byte.
func pullLayers(t testing.TB, client *http.Client, base string, img *simnet.Content, workers int) {
	t.Helper()
	var wg sync.WaitGroup
	next := make(chan int)
	for range workers {
		wg.Go(func() {
			for i := range next {
				layer, content := img.Layer(i)
				if err := pullOne(t.Context(), client, base+img.BlobPath(layer.Digest), "", content); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range img.Layers {
		next <- i
	}
	close(next)
	wg.Wait()
}

func pullOne(ctx context.Context, client *http.Client, at, token string, want []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(got, want) {
		return fmt.Errorf("%s: %d, %d bytes, %v", at, resp.StatusCode, len(got), err)
	}
	return nil
}

// direct is a client that pulls straight from a hub, as fast as Go's own does:
// it follows redirects, and drops the login there.
type direct struct{ *http.Client }

func newDirect(t testing.TB, n *simnet.Net) direct {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: n.CertPool()}, MaxIdleConnsPerHost: 64, DisableCompression: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return direct{&http.Client{Transport: transport, Timeout: time.Minute, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		req.Header.Del("Authorization") // another port of the same host; Go would keep it, and the CDN refuses it
		return nil
	}}}
}

// login asks the hub, is refused, and gets a token.
func (d direct) login(t testing.TB, hub *simnet.Hub, repo string) string {
	t.Helper()
	resp, err := d.Get(hub.URL() + "/v2/" + repo + "/manifests/1")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	q := url.Values{"service": {"hub"}, "scope": {"repository:" + repo + ":pull"}}
	if resp, err = d.Get(hub.Auth.Realm() + "?" + q.Encode()); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer.Token
}

// pull is the manifest and then pullLayers, with a token.
func (d direct) pull(t testing.TB, base string, img *simnet.Content, token string, workers int) {
	t.Helper()
	if err := pullOne(t.Context(), d.Client, base+img.Path(), token, img.Manifest()); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: bearer{d.Transport, token, strings.TrimPrefix(base, "https://")}, CheckRedirect: d.CheckRedirect, Timeout: d.Timeout}
	pullLayers(t, client, base, img, workers)
}

// bearer sends a token to one host.
type bearer struct {
	http.RoundTripper
	token, host string
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == b.host {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.RoundTripper.RoundTrip(r)
}
