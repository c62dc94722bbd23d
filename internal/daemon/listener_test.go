package daemon_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// A further listener serves its own registry without being told of one, by its own
// certificate if it has one, and ends with the first.
func TestFurtherListeners(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	app := simnet.Image{Repo: "owner/app", Tags: []string{"1"}}
	ghcr := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "ghcr"}, Images: []simnet.Image{app}, Open: true, Direct: true})
	hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{alpine}, Open: true, Direct: true})
	certFile, keyFile := keyPair(t)
	r := newRig(t, rigConfig{
		Net: n, Chain: []lane{{Name: "hub", URL: hub.URL()}},
		Top: fmt.Sprintf(`
[[listener]]
listen = "127.0.0.1:0"
registry = "ghcr.io"
[[listener]]
listen = "127.0.0.1:0"
registry = "ghcr.io"
tls_cert = %q
tls_key = %q
[[registry]]
name = "ghcr.io"
[[registry.upstream]]
name = "ghcr"
url = %q
trust = "resolve"
allow_private = true
ca_file = %q
`, certFile, keyFile, ghcr.URL(), caFile(t, n)),
	})
	listeners := r.Daemon.Listeners()
	if len(listeners) != 2 {
		t.Fatalf("it listens at %v", listeners)
	}
	image := n.Build(app)
	secure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer secure.CloseIdleConnections()
	for _, tt := range []struct {
		client *http.Client
		base   string
	}{{r.client, "http://" + listeners[0]}, {secure, "https://" + listeners[1]}} {
		if got := fetched(t, tt.client, tt.base+image.Path()); !bytes.Equal(got, image.Manifest()) {
			t.Errorf("%s: %.300q", tt.base, got)
		}
	}
	r.wantBytes(n.Build(alpine).Path(), n.Build(alpine).Manifest())
	r.wantAsked("ghcr", http.MethodGet, simnet.Manifests, 2)
	r.wantAsked("hub", http.MethodGet, simnet.Manifests, 1)
}

// fetched gets what must be there.
func fetched(t *testing.T, client *http.Client, url string) []byte {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v: %s", url, resp.StatusCode, err, body)
	}
	return body
}
