package simnet_test

import (
	"net/http"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// TestFaultsBySelection: a fault may be for requests with a Range alone, or not for some
// paths, and may change no more than the status.
func TestFaultsBySelection(t *testing.T) {
	t.Parallel()
	n := simnet.New(simnet.Config{})
	defer n.Close()
	img := simnet.Image{Repo: "a/b", Tags: []string{"1"}, Layers: []simnet.Layer{{Size: 4 << 10}}}
	m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "mirror"}, Images: []simnet.Image{img}})
	c := n.Build(img)
	layer, _ := c.Layer(0)
	ask := func(path, part string) int {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, m.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if part != "" {
			req.Header.Set("Range", part)
		}
		resp, err := n.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	expect := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	lift := m.Inject(simnet.Fault{Ranged: true, Status: 400})
	expect("a Range", ask(c.BlobPath(layer.Digest), "bytes=0-9"), 400)
	expect("no Range", ask(c.BlobPath(layer.Digest), ""), 200)
	lift()
	lift = m.Inject(simnet.Fault{Unless: "x=1", Status: 500})
	expect("any path", ask(c.ManifestPath("1"), ""), 500)
	expect("but this", ask(c.ManifestPath("1")+"?x=1", ""), 200)
	lift()
	lift = m.Inject(simnet.Fault{As: 203})
	expect("in the place of 200", ask(c.ManifestPath("1"), ""), 203)
	expect("a 206 stays", ask(c.BlobPath(layer.Digest), "bytes=0-9"), 206)
	lift()
}
