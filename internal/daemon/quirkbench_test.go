package daemon_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

// BenchmarkQuirks pulls cold images from a registry with each quirk that a direct client
// survives, 20 ms away, once directly and once through the daemon, with its cache and
// the registry as the only upstream. x-direct is the median quirk's time through the
// daemon over that of the direct pull, and worst-x-direct that of the worst.
func BenchmarkQuirks(b *testing.B) {
	for b.Loop() {
		var ratios []time.Duration // in thousandths
		var worst time.Duration
		name := ""
		for _, q := range simnet.Quirks() {
			if !q.Harmless || strings.HasPrefix(q.Name, "token-") { // the registry wants no tokens
				continue
			}
			ratio := quirkRatio(b, q)
			if ratio == 0 {
				continue
			}
			ratios = append(ratios, ratio)
			if ratio > worst {
				worst, name = ratio, q.Name
			}
		}
		b.Logf("the worst of %d is %s", len(ratios), name)
		b.ReportMetric(float64(median(ratios))/1000, "x-direct")
		b.ReportMetric(float64(worst)/1000, "worst-x-direct")
		b.ReportMetric(0, "ns/op")
	}
}

// quirkRatio returns the thousandfold of how much longer cold pulls take through the
// daemon than directly: the median of five, taken in turns; 0 where this plain client
// does not get through directly.
func quirkRatio(b *testing.B, q simnet.Quirk) time.Duration {
	n := simnet.New(simnet.Config{})
	defer n.Close()
	hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Open: true})
	s := &soak{hub: hub}
	s.rig = newRig(b, rigConfig{
		Net: n, Cache: fmt.Sprintf("dir = %q", b.TempDir()),
		Chain: []lane{{Name: "hub", URL: hub.URL(), Origin: true}},
	})
	defer s.end()
	s.probed("hub")
	defer q.Play(hub)()
	for _, server := range []*simnet.Server{hub.Server, hub.CDN.Server} {
		server.SetRTT(20 * time.Millisecond)
	}
	direct := directClient(n)
	var ours, theirs []time.Duration
	for i := range 6 {
		for name, client := range map[string]*http.Client{"direct": direct, "ours": s.client} {
			base := hub.URL()
			if name == "ours" {
				base = "http://" + s.Daemon.Addr()
			}
			img := simnet.Image{Repo: fmt.Sprintf("library/%s%d", name, i), Tags: []string{"1"}}
			for layer := range 3 {
				img.Layers = append(img.Layers, simnet.Layer{Size: 256 << 10, Seed: uint64(100*i + 10*len(name) + layer)})
			}
			content := hub.Push(img)
			began := time.Now()
			err := s.pull(client, base, content)
			switch {
			case err != nil && name == "ours":
				b.Fatalf("%s: %v", q.Name, err)
			case err != nil:
				return 0
			}
			switch took := time.Since(began); {
			case i == 0: // connections are made
			case name == "ours":
				ours = append(ours, took)
			default:
				theirs = append(theirs, took)
			}
		}
	}
	return 1000 * median(ours) / median(theirs)
}
