package daemon_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/simnet"
)

// shopHost is a registry that no block of the configuration names.
const shopHost = "registry.shop.example"

// A market is a daemon that serves any registry, through a proxy that finds the names.
type market struct {
	*rig
	shop  *simnet.Hub
	proxy *simnet.Proxy
	image *simnet.Content
}

func newMarket(t *testing.T, blocks string) *market {
	t.Helper()
	n := newNet(t)
	img := alpine
	img.Repo = "team/app"
	m := &market{image: n.Build(img)}
	m.shop = n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "shop", Hosts: []string{shopHost}, ByName: true}, Images: []simnet.Image{img}})
	m.proxy = n.AddConnectProxy(simnet.ProxyConfig{Origin: simnet.Origin{Name: "proxy"}})
	hub := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "a"}, Images: []simnet.Image{alpine}})
	if blocks == "" {
		blocks = fmt.Sprintf("[[registry]]\nname = \"*\"\n[[registry.upstream]]\nname = \"direct\"\nurl = \"https://{registry}\"\negress = \"tunnel\"\nca_file = %q\n", caFile(t, n))
	}
	m.rig = newRig(t, rigConfig{
		Net: n, Cache: cacheIn(t.TempDir()),
		Top:   fmt.Sprintf("[egress.tunnel]\nurl = %q\n", m.proxy.URL()),
		Chain: []lane{{Name: "a", URL: hub.URL(), After: blocks}},
	})
	return m
}

// served are the registries of the snapshot.
func (m *market) served() (names []string) {
	for _, r := range m.Daemon.Snapshot().Registries {
		names = append(names, r.Registry)
	}
	return names
}

// path is p of the shop by the path form, and ns by ns.
func (m *market) path(p string) string { return "/v2/" + shopHost + strings.TrimPrefix(p, "/v2") }
func (m *market) ns(p string) string   { return p + "?ns=" + shopHost }

// TestAnyRegistry pulls from a registry that no block names, by each form, with a token that
// it asks for, and again when it is gone.
func TestAnyRegistry(t *testing.T) {
	t.Parallel()
	m := newMarket(t, "")
	d, layer := m.image.Layer(0)
	var first sync.WaitGroup
	for range 8 { // all are the first
		first.Go(func() { m.wantBytes(m.ns(m.image.Path()), m.image.Manifest()) })
	}
	first.Wait()
	m.wantBytes(m.path(m.image.BlobPath(d.Digest)), layer)
	m.wantBytes("/"+shopHost+m.image.Path(), m.image.Manifest())
	if got, want := m.served(), []string{"docker.io", shopHost}; !slices.Equal(got, want) {
		t.Errorf("%v are served, want %v", got, want)
	}
	if got := m.get(m.ns(m.image.Path())); got.Header.Get("Oci-Namespace") != shopHost {
		t.Errorf("answered for %q", got.Header.Get("Oci-Namespace"))
	}
	cfg, err := config.Load(m.rig.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Daemon.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(m.served(), shopHost) {
		t.Errorf("after a reload %v are served", m.served())
	}
	m.shop.Break(simnet.ConnRefused)
	m.wantBytes(m.path(m.image.BlobPath(d.Digest)), layer)
}

// What is no public name is refused at once, and asked nowhere.
func TestAnyRegistryIsPublic(t *testing.T) {
	t.Parallel()
	m := newMarket(t, "")
	for _, name := range []string{
		"10.0.0.5", "127.0.0.1:5000", "localhost:5000", "169.254.169.254", "metadata.google.internal", "printer.local", "nas.lan", "harbor.corp", "x.svc.cluster.local",
		"10-0-0-5.nip.io", "lvh.me", "0x7f.1", "2130706433", shopHost + ":8443", shopHost + ":80", "intranet", "a..example", "-x.example", "user@shop.example",
	} {
		for _, path := range []string{"/v2/" + name + "/team/app/manifests/1", "/v2/team/app/manifests/1?ns=" + name} {
			got := m.get(path)
			if got.Status == http.StatusOK || got.Status >= 500 {
				t.Errorf("%s: HTTP %d %s", path, got.Status, got.Body)
			}
		}
	}
	if n := m.net.Ledger().Connections("proxy"); n != 0 {
		t.Errorf("the proxy was asked %d times", n)
	}
	if got := m.served(); len(got) != 1 {
		t.Errorf("%v are served", got)
	}
}

// However many names clients make up, so many are kept, and those that answer stay.
func TestAnyRegistryIsBounded(t *testing.T) {
	t.Parallel()
	m := newMarket(t, "")
	m.wantBytes(m.ns(m.image.Path()), m.image.Manifest())
	var clients sync.WaitGroup
	names := make(chan int)
	for range 4 {
		clients.Go(func() {
			for i := range names {
				if got := m.get(fmt.Sprintf("/v2/x/manifests/1?ns=made-up-%d.example", i)); got.Status == http.StatusOK {
					t.Errorf("%d: HTTP %d", i, got.Status)
				}
			}
		})
	}
	for i := range 100 {
		names <- i
	}
	close(names)
	clients.Wait()
	if got, want := m.served(), []string{"docker.io", shopHost}; !slices.Equal(got, want) {
		t.Errorf("%v are shown, want %v", got, want)
	}
	m.wantBytes(m.ns(m.image.Path()), m.image.Manifest())
}

// Without the block such a registry is an instant 404.
func TestNoRegistryButThoseNamed(t *testing.T) {
	t.Parallel()
	m := newMarket(t, "\n")
	if got := m.get(m.ns(m.image.Path())); got.Status != http.StatusNotFound || !strings.Contains(string(got.Body), "add a [[registry]]") {
		t.Errorf("HTTP %d %s", got.Status, got.Body)
	}
	if n := m.net.Ledger().Connections("proxy"); n != 0 {
		t.Errorf("the proxy was asked %d times", n)
	}
}
