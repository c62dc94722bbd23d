package daemon_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/simnet"
)

// hurriedPulls is how many ordinary pulls go on beside a hurried client.
const hurriedPulls = 18

// odd is the one name that a hurried client asks for, and what becomes of it at the registry.
func odd(f simnet.Fault) simnet.Fault {
	f.Match = "odd" // as it stands in paths, and in the scopes of tokens
	return f
}

// bomb is a document in gzip that grows a thousandfold.
func bomb() simnet.Fault {
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	_, err := zw.Write(bytes.Repeat([]byte("0"), 32<<20))
	if err == nil {
		err = zw.Close()
	}
	if err != nil {
		panic(err) // memory does not fail
	}
	return simnet.Fault{Respond: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", simnet.TypeOCIManifest)
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(packed.Bytes())
	})}
}

// A client that asks for one name without a pause, by many tags and digests, decides
// nothing for others: whatever the name draws at the registry or at its token server, no
// ordinary pull beside it is lost, and each is answered by the registry, whose breakers
// have not tripped (docs/faults.md 0.2, F55).
func TestF55_HurriedClient(t *testing.T) {
	t.Parallel()
	hour := map[string]string{"Retry-After": "3600"}
	for name, play := range map[string]func(*simnet.Hub){
		"500":               func(h *simnet.Hub) { h.Inject(odd(simnet.Fault{Status: 500, Body: "{}"})) },
		"502":               func(h *simnet.Hub) { h.Inject(odd(simnet.Fault{Status: 502, Body: "<html>"})) },
		"503 for an hour":   func(h *simnet.Hub) { h.Inject(odd(simnet.Fault{Status: 503, Header: hour})) },
		"522":               func(h *simnet.Hub) { h.Inject(odd(simnet.Cloudflare(522, "522"))) },
		"429":               func(h *simnet.Hub) { h.Inject(odd(simnet.TooMany())) },
		"429 for an hour":   func(h *simnet.Hub) { h.Inject(odd(simnet.Fault{Status: 429, Header: hour})) },
		"414":               func(h *simnet.Hub) { h.Inject(odd(simnet.Fault{Status: 414})) },
		"431":               func(h *simnet.Hub) { h.Inject(odd(simnet.Fault{Status: 431})) },
		"junk":              func(h *simnet.Hub) { h.Inject(odd(simnet.Fault{Garbage: "SSH-2.0-OpenSSH_9.2\r\n"})) },
		"a page":            func(h *simnet.Hub) { h.Inject(odd(simnet.HTML200())) },
		"reset":             func(h *simnet.Hub) { h.Inject(odd(simnet.Fault{Drop: simnet.EndRST})) },
		"cut":               func(h *simnet.Hub) { h.Inject(odd(simnet.Fault{Cut: simnet.EndFIN, CutFraction: 0.5})) },
		"a bomb":            func(h *simnet.Hub) { h.Inject(odd(bomb())) },
		"a lie":             func(h *simnet.Hub) { h.Inject(odd(simnet.Fault{Flip: true, FlipAt: 20})) },
		"a token's 500":     func(h *simnet.Hub) { h.Auth.Inject(odd(simnet.Fault{Status: 500})) },
		"a token's 403":     func(h *simnet.Hub) { h.Auth.Inject(odd(simnet.Fault{Status: 403})) },
		"a token's 429":     func(h *simnet.Hub) { h.Auth.Inject(odd(simnet.Fault{Status: 429, Header: hour})) },
		"a token that ends": func(h *simnet.Hub) { h.Auth.Inject(odd(simnet.Fault{Drop: simnet.EndRST})) },
		"a token's page":    func(h *simnet.Hub) { h.Auth.Inject(odd(simnet.HTML200())) },
		"a CDN's 500":       func(h *simnet.Hub) { h.CDN.Inject(odd(simnet.Fault{Status: 500})) },
		"a CDN that cuts":   func(h *simnet.Hub) { h.CDN.Inject(odd(simnet.Fault{Cut: simnet.EndRST, CutFraction: 0.5})) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNet(t)
			hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}})
			mirror := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "mirror"}})
			r := newRig(t, rigConfig{Net: n, Cache: fmt.Sprintf("dir = %q", t.TempDir()), Chain: []lane{
				{Name: "hub", URL: hub.URL(), Origin: true}, {Name: "mirror", URL: mirror.URL(), Pull: true},
			}})
			r.probed("hub", "mirror")
			image := hub.Push(simnet.Image{Repo: simnet.OddRepo, Tags: []string{"1"}, Layers: []simnet.Layer{{Size: 4 << 10, Seed: 9}}})
			play(hub)
			stop := r.hurry(image)
			for i := range hurriedPulls {
				img := hub.Push(simnet.Image{Repo: fmt.Sprintf("library/good%d", i), Tags: []string{"1"}, Layers: []simnet.Layer{{Size: 20 << 10, Seed: uint64(i)}}})
				d, content := img.Layer(0)
				r.wantServedBy(r.wantBytes(img.Path(), img.Manifest()), "hub")
				r.wantServedBy(r.wantBytes(img.BlobPath(d.Digest), content), "hub")
			}
			stop()
			for _, b := range r.lane("hub").Breakers {
				if b.Trips > 0 {
					t.Errorf("the breaker for %s has tripped: %+v", b.Class, b)
				}
			}
		})
	}
}

// hurry begins a client that asks for what image's repository has, and for much that it
// has not, each time as soon as it has the last answer. It has begun when hurry returns.
func (r *rig) hurry(image *simnet.Content) (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	begun, over := make(chan struct{}), make(chan struct{})
	layer, _ := image.Layer(0)
	go func() {
		defer close(over)
		for i := 0; ctx.Err() == nil; i++ {
			none := digest.FromString(fmt.Sprint(i))
			paths := []string{
				image.Path(), image.ManifestPath(fmt.Sprint("t", i)), image.ManifestPath(none.String()), image.BlobPath(none),
				image.BlobPath(layer.Digest), image.ManifestPath(image.Root.Digest.String()),
			}
			method := http.MethodGet
			if i%5 == 4 {
				method = http.MethodHead
			}
			r.ask(ctx, method, paths[i%len(paths)])
			if i == 30 {
				close(begun)
			}
		}
	}()
	<-begun
	return func() {
		cancel()
		<-over
	}
}

// ask makes a request of whose answer nothing is wanted.
func (r *rig) ask(ctx context.Context, method, path string) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.Daemon.Addr()+path, nil)
	if err != nil {
		return
	}
	if resp, err := r.client.Do(req); err == nil {
		resp.Body.Close()
	}
}
