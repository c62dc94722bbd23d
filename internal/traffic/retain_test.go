package traffic_test

import (
	"testing"
	"testing/synctest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/traffic"
)

// What a reload takes out of the configuration leaves neither counts nor requests of its own
// behind; what names no registry is counted on.
func TestRetain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPuller(traffic.New())
		for _, upstream := range []string{"hub", "worker"} {
			p.ask(pullchain.Manifest, "1", traffic.Outcome{Upstream: upstream, Attempts: []traffic.Attempt{{Upstream: upstream, Outcome: "ok"}}})
		}
		p.End(&traffic.Flight{Addr: home, Family: "other"}, &traffic.Outcome{Method: "GET", Status: 200, Ping: true})
		for range 3000 { // which wash away what is not kept for an upstream
			p.ask(pullchain.Manifest, "2", traffic.Outcome{Cache: pullchain.CacheHit})
		}
		of := func(upstream string) int { return len(p.Requests(traffic.RequestFilter{Upstream: upstream})) }
		registries := func() map[string]bool {
			seen := map[string]bool{}
			for _, c := range p.Counts().Requests {
				seen[c.Registry] = true
			}
			return seen
		}

		p.Retain(func(_, upstream string) bool { return upstream != "hub" })
		if seen := registries(); of("hub") != 0 || of("worker") != 1 || len(seen) != 2 {
			t.Errorf("without hub: %d requests of it, %d of worker, counts of %v", of("hub"), of("worker"), seen)
		}
		under := p.start(pullchain.Manifest, "3")
		p.Retain(func(string, string) bool { return false })
		if seen := registries(); of("worker") != 0 || len(seen) != 1 || !seen[""] {
			t.Errorf("with nothing: %d requests of worker, counts of %v", of("worker"), seen)
		}
		p.finish(under, traffic.Outcome{Bytes: 5}) // what was under way ends all the same
		if n := len(p.Requests(traffic.RequestFilter{Limit: 1})); n != 1 {
			t.Error("it is in no list")
		}
	})
}
