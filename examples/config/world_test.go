package config_test

import (
	"io"
	"maps"
	"net/http"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// A world is the internet of the examples: a server for each host that they name. What
// is public can be had of its registry; its mirrors have some of it.
type world struct {
	*simnet.Net
	hub, harbor *simnet.Hub

	alpine, redis, app, tool, pause, other *simnet.Content
}

// name is what a server of the world is called: in its ledger, and by its peers.
func name(name string, hosts ...string) simnet.Origin {
	return simnet.Origin{Name: name, Hosts: hosts, ByName: true}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	n := simnet.New(simnet.Config{})
	t.Cleanup(n.Close)
	seed := uint64(0)
	one := func(repo string) *simnet.Content { // of layers that no other has
		seed += 2
		return n.Build(simnet.Image{Repo: repo, Tags: []string{"3"}, Layers: []simnet.Layer{{Size: 64 << 10, Seed: seed}, {Size: 300 << 10, Seed: seed + 1}}})
	}
	w := &world{Net: n, alpine: one("library/alpine"), redis: one("library/redis"), app: one("owner/app"), tool: one("owner/tool"), pause: one("pause"), other: one("group/project/thing")}

	w.hub = n.AddHub(simnet.HubConfig{
		Origin: name("hub", "registry-1.docker.io"), Images: []simnet.Image{w.alpine.Image, w.redis.Image}, Quota: simnet.Quota{Limit: 1000},
		Auth: simnet.AuthConfig{Origin: name("", "auth.docker.io"), Users: map[string]string{"me": secret("hub.password"), "team": secret("hub.password")}},
		CDN:  simnet.CDNConfig{Origin: name("", "production.cloudflare.docker.com")},
	})
	w.addRegistry("ghcr.io", w.app)
	w.addRegistry("quay.io", w.tool)
	w.addRegistry("registry.k8s.io", w.pause)
	w.addRegistry("registry.example.net", w.other)
	n.AddMirror(simnet.MirrorConfig{Origin: name("mirror", "mirror.example.org"), Images: []simnet.Image{as("alpine", w.alpine), as("redis", w.redis)}})

	site := []simnet.Image{as("dockerhub/library/alpine", w.alpine), as("dockerhub/library/redis", w.redis), as("quay/owner/tool", w.tool)}
	w.harbor = n.AddHub(simnet.HubConfig{
		Origin: name("harbor", "harbor.site.internal"), Images: site, Direct: true,
		Auth: simnet.AuthConfig{Origin: name("", "auth.site.internal")},
	})
	spare := name("spare", "registry.site.internal")
	spare.Plain = true
	n.AddMirror(simnet.MirrorConfig{Origin: spare, Images: site})
	return w
}

// addRegistry adds one with a token server, as ghcr.io and quay.io are.
func (w *world) addRegistry(host string, image *simnet.Content) {
	w.AddHub(simnet.HubConfig{Origin: name(host, host), Images: []simnet.Image{image.Image}, Direct: true, Auth: simnet.AuthConfig{Origin: name("", "auth."+host)}})
}

// as is the image by another name.
func as(repo string, c *simnet.Content) simnet.Image {
	img := c.Image
	img.Repo = repo
	return img
}

// addRelay adds a Worker of the popular kind, which has nothing but Docker Hub: another one
// here, since it pulls from other addresses, by a quota of their own.
func (w *world) addRelay() {
	behind := w.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "behind-worker"}, Images: []simnet.Image{w.alpine.Image, w.redis.Image}})
	w.AddRelay(simnet.RelayConfig{Origin: name("worker", "hub.example.workers.dev"), Hub: behind})
}

// addWorker adds the Worker of examples/worker: it has Docker Hub below a path, and asks
// for its key.
func (w *world) addWorker(t *testing.T) {
	t.Helper()
	behind := w.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "behind-worker"}, Images: []simnet.Image{w.alpine.Image, w.redis.Image}})
	to := passTo(t, behind.URL(), w.CAPEM())
	o := name("worker", "hub.example.workers.dev")
	o.Handler = http.StripPrefix("/docker.io", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Pullchain-Key") != workerKey {
			http.Error(rw, "no key", http.StatusUnauthorized)
			return
		}
		to.ServeHTTP(rw, r)
	}))
	w.AddOrigin(o)
}

// passTo hands requests on to a server, with the Host that they came with.
func passTo(t *testing.T, server string, ca []byte) http.Handler {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: trusting(ca), DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := http.NewRequestWithContext(r.Context(), r.Method, server+r.URL.RequestURI(), nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out.Host, out.Header = r.Host, r.Header
		resp, err := transport.RoundTrip(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		maps.Copy(w.Header(), resp.Header)
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body) // the client finds out what is missing
	})
}

// asked is how many requests for manifests and blobs a server has seen with a status, any if
// it is 0; of a proxy, how many connections.
func (w *world) asked(server string, status int) int {
	return w.Ledger().Count(simnet.Filter{Server: server, Class: simnet.Manifests | simnet.Blobs | simnet.Connect, Status: status})
}

// wantFrom wants a server to have served by now.
func (w *world) wantFrom(t *testing.T, server string) {
	t.Helper()
	if w.asked(server, http.StatusOK) == 0 {
		t.Errorf("nothing came from %s", server)
	}
}

// wantUnasked wants a server not to have been asked yet.
func (w *world) wantUnasked(t *testing.T, server string) {
	t.Helper()
	if n := w.asked(server, 0); n != 0 {
		t.Errorf("%s was asked %d times", server, n)
	}
}

// wantManifests wants a server to have sent so many manifests.
func (w *world) wantManifests(t *testing.T, server string, want int) {
	t.Helper()
	if n := w.Ledger().Count(simnet.Filter{Server: server, Class: simnet.Manifests, Method: http.MethodGet, Status: http.StatusOK}); n != want {
		t.Errorf("%s has sent %d manifests, want %d", server, n, want)
	}
}
