package daemon_test

import (
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
)

// impatient is a table of timeouts that tests have the time for.
const impatient = "[registry.upstream.timeouts]\nheader = \"300ms\""

// Patience tables: what holds when nothing is set, and without what is done
// beside a connection that is slow to come.
const (
	asShipped  = "connect = \"1s\""
	onlyHedges = "connect = \"60s\""
)

// F05 Headers that do not come in time are a failure of that class of requests,
// and the next upstream serves.
func TestF05_HeaderTimeout(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"blob", "manifest"} {
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, func(c *rigConfig) {
				c.Chain[0].Tables = impatient
			})
			p.probed("a", "b")
			p.a.Inject(simnet.Fault{On: simnet.Manifests | simnet.Blobs, Drop: simnet.EndStall})
			other := "blob"
			if class == "blob" {
				other = "manifest"
			}
			got := p.first(class)
			p.wantCode(got, "a", pullchain.CodeHeaderTimeout)
			if got.servedBy() != "b" || got.TTFB < 300*time.Millisecond || got.TTFB > tooLong {
				t.Errorf("served by %q after %v", got.servedBy(), got.TTFB)
			}
			if b := p.breaker("a", class); b.Failures != 1 || b.State != "closed" {
				t.Errorf("after one slow answer the breaker is %+v", b)
			}
			if b := p.breaker("a", other); b.Failures != 0 {
				t.Errorf("the other class is blamed too: %+v", b)
			}
			for range 4 {
				p.firstOf(class, p.another())
			}
			if b := p.breaker("a", class); b.State != "open" || b.Code != pullchain.CodeHeaderTimeout {
				t.Errorf("after five slow answers in a row, to five images, the breaker is %+v", b)
			}
			p.wantOpen("a", other)
		})
	}
}

// F05 A manifest that is slow to come is asked for elsewhere after a quarter of
// a second, and slowness is no failure.
func TestF05_SlowManifestIsHedged(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) { c.Chain[0].Patience = asShipped })
	p.probed("a", "b")
	p.a.Inject(simnet.Fault{On: simnet.Manifests, Delay: time.Minute})
	got := p.manifest()
	if got.servedBy() != "b" || got.TTFB < 240*time.Millisecond {
		t.Errorf("served by %q after %v", got.servedBy(), got.TTFB)
	}
	p.wantBeside()
	p.wantAsked("a", "GET", simnet.Manifests, 1)
	p.wantAsked("b", "GET", simnet.Manifests, 1)
	if b := p.breaker("a", "manifest"); b.Failures != 0 || b.State != "closed" {
		t.Errorf("slow is not down: %+v", b)
	}
	p.wantOpen("a", "manifest")
}

// F05 A blob that is slow to come is waited for: only manifests are hedged.
func TestF05_SlowBlobIsNotHedged(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) { c.Chain[0].Patience = onlyHedges })
	p.probed("a", "b")
	p.a.Inject(simnet.Fault{On: simnet.Blobs, Delay: 600 * time.Millisecond})
	if got := p.blob(0); got.servedBy() != "a" {
		t.Errorf("served by %q", got.servedBy())
	}
	p.wantAsked("b", "GET", simnet.Blobs, 0)
}

// F05 Where requests cost money there is no hedge.
func TestF05_NoHedgeWhereItCosts(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) { c.Chain[0].Patience, c.Chain[1].Keys = onlyHedges, "metered = true" })
	p.probed("a", "b")
	p.a.Inject(simnet.Fault{On: simnet.Manifests, Delay: 600 * time.Millisecond})
	if got := p.manifest(); got.servedBy() != "a" {
		t.Errorf("served by %q", got.servedBy())
	}
	p.wantAsked("b", "GET", simnet.Manifests, 0)
}

// F05 A server that accepts, reads and never answers is a TLS handshake that
// does not end: the next upstream serves within a second and a half, and the
// silent one is held, be it found out by a hedge or by waiting.
func TestF05_SilentServer(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"blob", "manifest"} {
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, func(c *rigConfig) { c.Chain[0].Patience = asShipped })
			p.probed("a", "b")
			p.a.Break(simnet.ConnSilent)
			if got := p.first(class); got.servedBy() != "b" {
				t.Errorf("served by %q", got.servedBy())
			}
			p.wantBeside()
			p.eventually("a is held", func() bool { return p.gate("a", "blob").Gate == "hold" })
			p.net.Ledger().Reset()
			p.manifest()
			p.blob(0)
			if n := p.net.Ledger().Connections("a"); n != 0 {
				t.Errorf("the later client made %d connections to a", n)
			}
		})
	}
}

// A lane that is merely far away is overtaken by a hedge while it connects, and
// that is nothing to hold it for.
func TestF05_FarIsNotSilent(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) { c.Chain[0].Patience = "connect = \"20s\"" })
	p.probed("a", "b")
	p.a.CloseConnections()
	p.a.SetRTT(2 * time.Second) // connected after two of these, answered after three
	if got := p.manifest(); got.servedBy() != "b" {
		t.Errorf("served by %q", got.servedBy())
	}
	p.eventually("the attempt at a is judged", func() bool { return p.lane("a").InFlight == 0 })
	if b := p.breaker("a", "manifest"); b.Failures != 0 || p.gate("a", "manifest").Gate != "" {
		t.Errorf("it is taken to be silent: %+v, gate %+v", b, p.gate("a", "manifest"))
	}
}
