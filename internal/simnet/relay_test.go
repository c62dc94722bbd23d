package simnet_test

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// relayed starts a hub and a relay before it, and a client that follows nothing.
func relayed(t *testing.T) (*simnet.Net, *simnet.Hub, *simnet.Relay, *http.Client) {
	n, hub := start(t, simnet.HubConfig{Quota: simnet.Quota{Limit: 10}})
	y := n.AddRelay(simnet.RelayConfig{Origin: simnet.Origin{Name: "relay"}, Hub: hub})
	c := n.Client()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return n, hub, y, c
}

func TestRelay(t *testing.T) {
	t.Parallel()
	n, hub, y, c := relayed(t)
	img := alpine.Build()

	short := ask(t, c, "GET", y.URL()+"/v2/alpine/manifests/3")
	if short.StatusCode != 301 || short.Header.Get("Location") != y.URL()+"/v2/library/alpine/manifests/3" {
		t.Errorf("short name: %s %v", short.Status, short.Header)
	}
	ping := ask(t, c, "GET", y.URL()+"/v2/")
	challenge := ping.Header.Get("WWW-Authenticate")
	if ping.StatusCode != 401 || challenge != `Bearer realm="`+y.URL()+`/v2/auth",service="cloudflare-docker-proxy"` {
		t.Fatalf("ping: %s %q", ping.Status, challenge)
	}
	tok := token(t, c, challenge+`,scope="repository:alpine:pull"`) // library/ is put in there
	_, auth, _ := strings.Cut(string(tok.body), `"token":"`)
	auth, _, _ = strings.Cut(auth, `"`)
	auth = "Bearer " + auth
	m := ask(t, c, "GET", y.URL()+img.Path(), "Authorization", auth)
	if m.StatusCode != 200 || !bytes.Equal(m.body, img.Manifest()) || m.Header.Get("ratelimit-remaining") != "9;w=21600" {
		t.Errorf("manifest: %s %v", m.Status, m.Header)
	}
	layer, whole := img.Layer(0)
	b := ask(t, c, "GET", y.URL()+img.BlobPath(layer.Digest), "Authorization", auth, "Range", "bytes=10-19")
	if b.StatusCode != 200 || !bytes.Equal(b.body, whole) {
		t.Errorf("blob with a range: %s, %d bytes", b.Status, len(b.body))
	}
	cdn := n.Ledger().Find(simnet.Filter{Server: "hub-cdn"})
	if len(cdn) != 1 || cdn[0].Range != "" || cdn[0].Authorization != "" {
		t.Errorf("at the CDN: %+v", cdn)
	}
	hub.SetRemaining("127.0.0.1", 0)
	if got := ask(t, c, "GET", y.URL()+img.Path(), "Authorization", auth); got.StatusCode != 429 {
		t.Errorf("quota: %s", got.Status)
	}
	hub.Break(simnet.ConnRefused)
	if got := ask(t, c, "GET", y.URL()+img.Path(), "Authorization", auth); got.StatusCode != 530 {
		t.Errorf("dead hub: %s", got.Status)
	}
}

func TestMirror(t *testing.T) {
	t.Parallel()
	n := simnet.New(simnet.Config{})
	t.Cleanup(n.Close)
	old := simnet.Image{Repo: "library/alpine", Tags: []string{"3"}, Labels: map[string]string{"version": "old"}}
	m := n.AddMirror(simnet.MirrorConfig{
		Origin: simnet.Origin{Name: "m"}, Images: []simnet.Image{alpine, old},
		Allow: []string{"library/alpine"}, AllowBlobs: true,
	})
	c, img, oldImg := n.Client(), alpine.Build(), old.Build()
	tag := func() string { return ask(t, c, "HEAD", m.URL()+img.Path()).Header.Get("Docker-Content-Digest") }
	if tag() != oldImg.Root.Digest.String() {
		t.Error("the later image does not have the tag")
	}
	m.SetTag("library/alpine", "3", img.Root.Digest)
	if tag() != img.Root.Digest.String() {
		t.Error("SetTag does not move the tag")
	}
	denied := ask(t, c, "GET", m.URL()+"/v2/library/redis/manifests/7")
	if denied.StatusCode != 403 || !strings.Contains(string(denied.body), "DENIED") {
		t.Errorf("not on the list: %s %s", denied.Status, denied.body)
	}
	if got := ask(t, c, "GET", m.URL()+"/v2/library/redis/blobs/"+img.Root.Digest.String()); got.StatusCode != 404 {
		t.Errorf("blob not on the list: %s", got.Status)
	}
	layer, _ := img.Layer(0)
	m.DropBlob("library/alpine", layer.Digest)
	m.DropManifest("library/alpine", img.Root.Digest)
	for _, path := range []string{img.BlobPath(layer.Digest), img.ManifestPath(img.Root.Digest.String()), img.Path()} {
		if got := ask(t, c, "GET", m.URL()+path); got.StatusCode != 404 {
			t.Errorf("dropped %s: %s", path, got.Status)
		}
	}
	m.Push(alpine)
	if got := ask(t, c, "GET", m.URL()+img.Path()); got.StatusCode != 200 {
		t.Errorf("pushed: %s", got.Status)
	}
	m.Forget("library/alpine")
	if got := ask(t, c, "GET", m.URL()+"/v2/library/alpine/tags/list"); got.StatusCode != 404 {
		t.Errorf("forgotten: %s", got.Status)
	}
}

// TestBackend puts a hub before another registry, here one of our own.
func TestBackend(t *testing.T) {
	t.Parallel()
	n := simnet.New(simnet.Config{})
	t.Cleanup(n.Close)
	real := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "real", Plain: true}, Images: []simnet.Image{alpine}})
	u, err := url.Parse(real.URL())
	if err != nil {
		t.Fatal(err)
	}
	hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Backend: u, Quota: simnet.Quota{Limit: 5}})
	img, c := alpine.Build(), n.Client()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	auth := bearer(t, c, hub, img.Path())
	m := ask(t, c, "GET", hub.URL()+img.Path(), "Authorization", auth, "Accept", simnet.TypeOCIManifest)
	if !bytes.Equal(m.body, img.Manifest()) || m.Header.Get("Content-Type") != simnet.TypeOCIManifest || m.Header.Get("ratelimit-remaining") != "4;w=21600" {
		t.Errorf("manifest: %s %v", m.Status, m.Header)
	}
	layer, whole := img.Layer(0)
	hop := ask(t, c, "GET", hub.URL()+img.BlobPath(layer.Digest), "Authorization", auth)
	b := ask(t, c, "GET", hop.Header.Get("Location"), "Range", "bytes=10-19")
	if b.StatusCode != 206 || !bytes.Equal(b.body, whole[10:20]) {
		t.Errorf("blob: %s %v", b.Status, b.Header)
	}
	tags := ask(t, c, "GET", hub.URL()+"/v2/library/alpine/tags/list?n=1", "Authorization", auth)
	if got := string(tags.body); got != `{"name":"library/alpine","tags":["3"]}` {
		t.Errorf("tags: %s", got)
	}
	if got := ask(t, c, "GET", hub.URL()+img.ManifestPath("none"), "Authorization", auth); got.StatusCode != 404 {
		t.Errorf("unknown tag: %s", got.Status)
	}
}
