package daemon_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
)

// newH2 is a pair whose first path speaks HTTP/2, and has shown it.
func newH2(t *testing.T, patience ...string) *pair {
	t.Helper()
	var m *simnet.Mirror
	p := newPair(t, func(c *rigConfig) {
		m = c.Net.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "h2", HTTP2: true}, Images: []simnet.Image{alpine}})
		c.Chain[0] = lane{Name: "h2", URL: m.URL(), Patience: strings.Join(patience, "")}
	})
	p.a = m
	p.probed("h2", "b")
	p.manifest()
	p.wantProto("HTTP/2.0")
	return p
}

// wantProto fails the test unless the last manifest was asked of h2 over proto.
func (p *pair) wantProto(proto string) {
	p.t.Helper()
	asked := p.net.Ledger().Find(simnet.Filter{Server: "h2", Class: simnet.Manifests})
	if len(asked) == 0 || asked[len(asked)-1].Proto != proto {
		p.t.Errorf("h2 was asked %d times, and not the last time over %s", len(asked), proto)
	}
}

// wantUnblamed fails the test unless no gate of h2 counts anything against it.
func (p *pair) wantUnblamed() {
	p.t.Helper()
	if b := p.breaker("h2", "manifest"); b.Failures != 0 {
		p.t.Errorf("h2's breaker counts %d failures, want 0", b.Failures)
	}
	p.wantOpen("h2", "manifest")
}

// A server that is on its way out says which requests it has not looked at:
// those are sent again, on a new connection, and no client notices.
func TestF45_GoAway(t *testing.T) {
	t.Parallel()
	p := newH2(t)
	p.net.Server("h2").BreakNext(simnet.ConnH2GoAway, 1)
	if got := p.manifest(); got.servedBy() != "h2" {
		t.Errorf("served by %q, want h2", got.servedBy())
	}
	p.wantUnblamed()
	p.wantAsked("h2", http.MethodGet, simnet.Manifests, 2)
	p.wantAsked("b", "", simnet.Manifests, 0)
}

// A stream that is refused unprocessed is sent again too; a server that keeps
// refusing is not waited for.
func TestF45_RefusedStream(t *testing.T) {
	t.Parallel()
	p := newH2(t, asShipped)
	p.net.Server("h2").Break(simnet.ConnH2Refused)
	if got := p.manifest(); got.servedBy() != "b" {
		t.Errorf("served by %q, want b", got.servedBy())
	}
	p.eventually("b was asked beside it", func() bool { return strings.Contains(p.log.String(), " +b:ok(") })
	p.wantUnblamed()
}

// "Enhance your calm" is HTTP/2 for 429.
func TestF45_Calm(t *testing.T) {
	t.Parallel()
	p := newH2(t)
	p.net.Server("h2").Break(simnet.ConnH2Calm)
	p.wantCode(p.manifest(), "h2", pullchain.CodeThrottle)
	p.wantUntil(p.wantGate("h2", "manifest", "cooldown", pullchain.CodeThrottle), 30*time.Second, time.Minute)
	if n := p.breaker("h2", "manifest").Failures; n != 0 {
		t.Errorf("h2's breaker counts %d failures, want 0", n)
	}
	before := p.net.Ledger().Connections("h2")
	p.manifest()
	if n := p.net.Ledger().Connections("h2"); n != before {
		t.Errorf("it was left no calm: %d more connections", n-before)
	}
}

// Streams that are reset in the middle cost no client anything, and the third in
// a minute is the last over HTTP/2. The breaker counts each image's once.
func TestF45_ResetMidway(t *testing.T) {
	t.Parallel()
	p := newH2(t)
	server := p.net.Server("h2")
	for n := range 3 {
		server.Break(simnet.ConnH2ResetMidway)
		p.wantCode(p.manifestOf(p.another()), "h2", pullchain.CodeHTTP2)
		if got := p.breaker("h2", "manifest").Failures; got != uint32(n+1) {
			t.Errorf("h2's breaker counts %d failures, want %d", got, n+1)
		}
		server.Mend()
		if got := p.manifest(); got.servedBy() != "h2" {
			t.Fatalf("served by %q, want h2", got.servedBy())
		}
		if n < 2 {
			p.wantProto("HTTP/2.0")
		}
	}
	p.wantProto("HTTP/1.1")
}

// Blobs do not travel over HTTP/2, where one throttle slows down all of them.
func TestF45_BlobsOverHTTP1(t *testing.T) {
	t.Parallel()
	p := newH2(t)
	p.blob(1)
	asked := p.net.Ledger().Find(simnet.Filter{Server: "h2", Class: simnet.Blobs})
	if len(asked) != 1 || asked[0].Proto != "HTTP/1.1" {
		t.Errorf("blobs were asked %+v, want one over HTTP/1.1", asked)
	}
}
