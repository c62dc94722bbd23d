package daemon_test

import (
	"net"
	"strings"
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
)

// F08 A registry counts by the address that pulls come from, and an egress says which that
// is: for the token, the manifest and the blob where a redirect leads, and for probes.
func TestF08_QuotaOfAnAddress(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skip("by default only Linux has 127.0.0.2: ", err)
	}
	l.Close()
	n := newNet(t)
	hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{alpine}, Quota: simnet.Quota{Limit: 100}})
	image := n.Build(alpine)
	r := newRig(t, rigConfig{Net: n, Top: "[egress.second]\nsource = \"127.0.0.2\"\n[egress.third]\nsource = \"127.0.0.3\"\nurl = \"direct\"\n", Chain: []lane{
		{Name: "second", URL: hub.URL(), Origin: true, Keys: "egress = \"second\""},
		{Name: "third", URL: hub.URL(), Keys: "egress = \"third\""},
	}})
	r.probed("second", "third")
	n.Ledger().Reset()
	r.wantBytes(image.Path(), image.Manifest())
	layer, content := image.Layer(1)
	r.wantBytes(image.BlobPath(layer.Digest), content)
	for _, e := range n.Ledger().All() {
		if !strings.HasPrefix(e.Remote, "127.0.0.2:") {
			t.Errorf("%s %s%s came from %s", e.Method, e.Host, e.Path, e.Remote)
		}
	}
	hub.SetRemaining("127.0.0.2", 11)
	for i, want := range []string{"second", "third", "third"} {
		if got := r.get(image.Path()); got.servedBy() != want {
			t.Errorf("%d: served by %q, want %q", i, got.servedBy(), want)
		}
	}
	if two, three := hub.Remaining("127.0.0.2"), hub.Remaining("127.0.0.3"); two != 10 || three != 98 {
		t.Errorf("%d and %d are left, want 10 and 98", two, three)
	}
	if q := r.lane("third").Quota; q == nil || q.Source != "127.0.0.3" {
		t.Errorf("counted as %+v", q)
	}
}

// A source that is none of this machine's is told of at the start, and in the error; what
// dials from elsewhere serves.
func TestSourceThatIsNotOurs(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) {
		c.Top = "[egress.gone]\nsource = \"192.0.2.1\"\n"
		c.Chain[0].Keys = "egress = \"gone\""
	})
	if log := p.log.String(); !strings.Contains(log, "source 192.0.2.1 is no address of this machine") {
		t.Errorf("the log does not say it: %s", log)
	}
	got := p.manifest()
	p.wantCode(got, "a", pullchain.CodeSourceAddress)
	if got.servedBy() != "b" {
		t.Errorf("served by %q", got.servedBy())
	}
	if b := p.breaker("a", "manifest"); b.Failures != 0 {
		t.Errorf("the upstream is blamed: %+v", b)
	}
}
