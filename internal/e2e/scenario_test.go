//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// world is the internet of one pull: Docker Hub as internal/simnet plays it,
// with its token server and its CDN, before the real origin, and on demand the
// Worker in workerd.
type world struct {
	net    *simnet.Net
	hub    *simnet.Hub
	origin *origin
	image  *image
	caFile string
}

func newWorld(t *testing.T, o *origin, img *image) *world {
	t.Helper()
	n := simnet.New(simnet.Config{})
	t.Cleanup(n.Close)
	w := &world{net: n, origin: o, image: img, caFile: filepath.Join(tempDir(t), "ca.pem")}
	writeFile(t, w.caFile, string(n.CAPEM()))
	w.hub = w.addHub(t, "hub", simnet.Quota{Limit: 100})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("requests that the internet saw:\n%s", w.requests())
		}
	})
	return w
}

// addHub adds a Docker Hub before the origin.
func (w *world) addHub(t *testing.T, name string, quota simnet.Quota) *simnet.Hub {
	t.Helper()
	backend, err := url.Parse(w.origin.url)
	if err != nil {
		t.Fatal(err)
	}
	// What lies in the sockets of an answer that is cut off has been sent in vain.
	// On loopback that would be megabytes whenever the client is slow to read.
	cdn := simnet.CDNConfig{Origin: simnet.Origin{SendBuffer: 4 << 10}}
	return w.net.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: name}, NoReferrers: true, Backend: backend, Quota: quota, CDN: cdn})
}

// direct is the upstream that goes to the hub itself.
func (w *world) direct() upstream {
	return upstream{name: "docker-hub", url: w.hub.URL(), caFile: w.caFile, origin: true}
}

// once is direct for tests that count requests: what is slow gets no second
// connection.
func (w *world) once() upstream {
	u := w.direct()
	u.metered = true
	return u
}

// worker is the upstream that goes through the Worker in workerd. Docker Hub
// counts by address, so the same Hub seen from Cloudflare is a second one here:
// with a quota of its own, and a CDN edge of its own.
func (w *world) worker(t *testing.T) upstream {
	t.Helper()
	far := w.addHub(t, "far", simnet.Quota{Limit: 100})
	address := startWorker(t, w.caFile, far.URL(), far.Auth.Addr(), far.CDN.Addr())
	return upstream{name: "cf-worker", url: address}
}

// requests is the ledger, a line a request.
func (w *world) requests() string {
	var b strings.Builder
	for _, e := range w.net.Ledger().All() {
		fmt.Fprintf(&b, "%s %s %s %s -> %d, %d bytes, cut %t\n", e.Server, e.Method, e.Path, e.Range, e.Status, e.Bytes, e.Cut)
	}
	return b.String()
}

// scenario is one state of the internet to pull in.
type scenario struct {
	name string
	// build makes the chain, and a check of what the internet saw that proves
	// the fault to have happened: a pull that never met it proves nothing.
	build func(t *testing.T, w *world) (chain []upstream, check func(t *testing.T))
	// warning is what the Warning header of the tag's manifest must say, where
	// the first upstream has failed before it.
	warning string
	// down says that no upstream can answer, so that the pull must fail.
	down bool
}

var scenarios = []scenario{
	{name: "ok", build: allWell},
	{name: "quota", build: quotaSpent, warning: "docker-hub http_429_quota, served by cf-worker"},
	{name: "cut", build: blobsCut},
	{name: "egress", build: egressDead, warning: "docker-hub egress_proxy, served by cf-worker"},
	{name: "down", build: allDown, down: true},
}

// allWell has the Hub alone, in good health.
func allWell(t *testing.T, w *world) ([]upstream, func(*testing.T)) {
	return []upstream{w.direct()}, func(t *testing.T) {
		w.wantRequests(t, "token of the hub", simnet.Filter{Server: "hub-auth", Class: simnet.Token, Status: 200})
		w.wantRequests(t, "blob of the hub's CDN", simnet.Filter{Server: "hub-cdn", Class: simnet.Blobs, Status: 200})
	}
}

// quotaSpent is the Hub with nothing left for this address, and the Worker.
func quotaSpent(t *testing.T, w *world) ([]upstream, func(*testing.T)) {
	w.hub.SetRemaining("127.0.0.1", 0)
	return []upstream{w.direct(), w.worker(t)}, func(t *testing.T) {
		w.wantRequests(t, "manifest of the Worker's hub", simnet.Filter{Server: "far", Method: "GET", Class: simnet.Manifests, Status: 200})
		w.wantNoRequests(t, "manifest got from the hub", simnet.Filter{Server: "hub", Method: "GET", Class: simnet.Manifests, Status: 200})
	}
}

// blobsCut is the Hub whose CDN breaks every blob off at 40 %, and the Worker.
func blobsCut(t *testing.T, w *world) ([]upstream, func(*testing.T)) {
	w.hub.CDN.Inject(simnet.Fault{On: simnet.Blobs, Cut: simnet.EndFIN, CutFraction: 0.4})
	return []upstream{w.direct(), w.worker(t)}, func(t *testing.T) {
		w.wantCut(t, "hub-cdn")
		w.wantRequests(t, "rest of a blob from the Worker's hub", simnet.Filter{Server: "far-cdn", Class: simnet.Blobs, Status: 206, Ranged: true})
	}
}

// egressDead is the Hub behind a SOCKS5 proxy that is not there, and the
// Worker.
func egressDead(t *testing.T, w *world) ([]upstream, func(*testing.T)) {
	first := w.direct()
	first.egress = w.deadProxy()
	return []upstream{first, w.worker(t)}, func(t *testing.T) {
		w.wantNoRequests(t, "request at the hub", simnet.Filter{Server: "hub"})
		w.wantRequests(t, "blob of the Worker's hub", simnet.Filter{Server: "far-cdn", Class: simnet.Blobs, Status: 200})
	}
}

// allDown is the Hub refusing connections, and the Worker behind a SOCKS5
// proxy that is not there.
func allDown(t *testing.T, w *world) ([]upstream, func(*testing.T)) {
	w.hub.Break(simnet.ConnRefused)
	second := upstream{name: "cf-worker", url: "https://worker.example", egress: w.deadProxy()}
	return []upstream{w.direct(), second}, func(*testing.T) {}
}

// deadProxy is the URL of a SOCKS5 proxy that refuses connections. Its port
// stays taken, so that no other process can turn up there.
func (w *world) deadProxy() string {
	s := w.net.AddOrigin(simnet.Origin{Name: "dead-proxy", Handler: http.NotFoundHandler()})
	s.Break(simnet.ConnRefused)
	return "socks5://" + s.Addr()
}

// wantRequests fails the test when the internet has seen no such request.
func (w *world) wantRequests(t *testing.T, what string, f simnet.Filter) {
	t.Helper()
	w.waitIdle(t)
	if w.net.Ledger().Count(f) == 0 {
		t.Errorf("no %s was asked for", what)
	}
}

// wantNoRequests fails the test when the internet has seen such a request.
func (w *world) wantNoRequests(t *testing.T, what string, f simnet.Filter) {
	t.Helper()
	w.waitIdle(t)
	if n := w.net.Ledger().Count(f); n != 0 {
		t.Errorf("%d times: %s", n, what)
	}
}

// wantCut fails the test when the server has broken off no blob.
func (w *world) wantCut(t *testing.T, server string) {
	t.Helper()
	w.waitIdle(t)
	for _, e := range w.net.Ledger().Find(simnet.Filter{Server: server, Class: simnet.Blobs}) {
		if e.Cut {
			return
		}
	}
	t.Errorf("%s has broken off no blob", server)
}

// waitIdle waits until no request is under way, so that the ledger is final.
func (w *world) waitIdle(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.net.Ledger().WaitIdle(ctx); err != nil {
		t.Errorf("requests are still being answered: %v", err)
	}
}
