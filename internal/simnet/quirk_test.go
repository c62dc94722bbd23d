package simnet_test

import (
	"regexp"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// TestQuirks: each has a name of its own and words, comes and goes, and leaves a hub that
// does everything right.
func TestQuirks(t *testing.T) {
	t.Parallel()
	n := simnet.New(simnet.Config{})
	defer n.Close()
	img := simnet.Image{Repo: "a/b", Tags: []string{"1"}, Layers: []simnet.Layer{{Size: 4 << 10}}}
	hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{img}, Open: true})
	seen := map[string]bool{}
	for _, q := range simnet.Quirks() {
		if seen[q.Name] || q.What == "" || !regexp.MustCompile(`^[a-z0-9-]+$`).MatchString(q.Name) {
			t.Errorf("%q, %q: no name of its own, or no words", q.Name, q.What)
		}
		seen[q.Name] = true
		if q.Name == "token-slow" || q.Name == "redirect-registry" { // they need tokens
			continue
		}
		for range 2 {
			q.Play(hub)()
		}
		for _, path := range []string{"/v2/", n.Build(img).ManifestPath("1")} {
			resp, err := n.Client().Get(hub.URL() + path)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("after %s: %s is %d", q.Name, path, resp.StatusCode)
			}
		}
	}
	if len(seen) < 60 {
		t.Errorf("%d quirks", len(seen))
	}
	if simnet.FindQuirk("range-400").Name != "range-400" {
		t.Error("a quirk cannot be found by its name")
	}
}
