package daemon_test

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// freeAddress is an address on loopback that the daemon which is started next can take.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// A chain that leads back to itself ends at once, with the path for people, and another
// lane serves.
func TestF61_ChainThatLeadsToItself(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "m"}, Images: []simnet.Image{alpine}})
	image := n.Build(alpine)
	self := freeAddress(t)
	alone := newRig(t, rigConfig{Net: n, Listen: self, Chain: []lane{{Name: "self", URL: "http://" + self}}})
	got := alone.get(image.Path())
	if got.Status != http.StatusLoopDetected || strings.Count(string(got.Body), "leads back to where it began") != 1 || !strings.Contains(string(got.Body), "self loop") {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	other := freeAddress(t)
	r := newRig(t, rigConfig{Net: n, Listen: other, Chain: []lane{{Name: "self", URL: "http://" + other}, {Name: "m", URL: m.URL()}}})
	for range 20 {
		r.wantBytes(image.Path(), image.Manifest())
	}
	layer, content := image.Layer(1)
	r.wantBytes(image.BlobPath(layer.Digest), content)
	if got := r.lane("m"); got.State != "serving" && got.State != "standby" {
		t.Errorf("the other lane is %s", got.State)
	}
	for _, e := range r.net.Ledger().All() {
		if hops := e.Header.Get("Pullchain-Via"); e.Server == "m" && hops == "" {
			t.Errorf("%s %s: no word of us", e.Method, e.Path)
		}
	}
}

// Two pullchains that have each other serve what either can get, also through the other; a
// request goes round once, and what it finds closes nothing for the other's own clients.
func TestF61_EachOthersUpstream(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "m"}, Images: []simnet.Image{alpine}})
	image := n.Build(alpine)
	addressA, addressB := freeAddress(t), freeAddress(t)
	a := newRig(t, rigConfig{Net: n, Listen: addressA, Chain: []lane{{Name: "b", URL: "http://" + addressB}, {Name: "m", URL: m.URL()}}})
	b := newRig(t, rigConfig{Net: n, Listen: addressB, Chain: []lane{{Name: "a", URL: "http://" + addressA}}})
	for range 10 {
		a.wantBytes(image.Path(), image.Manifest())
		b.wantBytes(image.Path(), image.Manifest())
	}
	layer, content := image.Layer(1)
	b.wantBytes(image.BlobPath(layer.Digest), content)
	if got := b.breaker("a", "manifest"); got.State != "closed" {
		t.Errorf("the breaker of b's only lane is %s for what a's requests met", got.State)
	}
}

// What the pullchain at the end of a chain has to say reaches the client, once.
func TestOneVerdictThroughAChain(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "m"}, Images: []simnet.Image{alpine}})
	m.Inject(simnet.Fault{On: simnet.Manifests, Status: 502})
	last := newRig(t, rigConfig{Net: n, Chain: []lane{{Name: "hub", URL: m.URL()}}})
	middle := newRig(t, rigConfig{Net: n, Chain: []lane{{Name: "site", URL: "http://" + last.Daemon.Addr(), Keys: "ns = true"}}})
	first := newRig(t, rigConfig{Net: n, Chain: []lane{{Name: "team", URL: "http://" + middle.Daemon.Addr(), Keys: "ns = true"}}})
	image := n.Build(alpine)
	got := first.wantStatus(image.Path(), http.StatusServiceUnavailable)
	text := string(got.Body)
	if strings.Count(text, "hub http_5xx") != 1 || !strings.Contains(text, "team http_5xx") || strings.Contains(text, "site") || strings.Count(text, "pullchain status") != 1 {
		t.Errorf("%s", text)
	}
	if hops := strings.Split(via(n), ", "); len(hops) != 3 || hops[0] == hops[1] {
		t.Errorf("the mirror saw %q", via(n))
	}
}

// via is the header of the last request for a manifest.
func via(n *simnet.Net) string {
	var last string
	for _, e := range n.Ledger().All() {
		if e.Class == simnet.Manifests {
			last = e.Header.Get("Pullchain-Via")
		}
	}
	return last
}
