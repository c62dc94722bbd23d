package daemon_test

import (
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// F14 A CDN that finds its presigned URL too old: the registry is asked for
// another, once, and it counts as no failure.
func TestF14_ExpiredURL(t *testing.T) {
	t.Parallel()
	p := newHubPair(t, simnet.Quota{}, nil)
	expired := simnet.ExpiredURL()
	expired.Times = 1
	p.hub.CDN.Inject(expired)
	if got := p.blob(1); got.servedBy() != "hub" {
		t.Errorf("served by %q", got.servedBy())
	}
	p.wantAsked("hub", "GET", simnet.Blobs, 2)
	p.wantAsked("hub-cdn", "GET", simnet.Blobs, 2)
	p.wantAsked("b", "", simnet.Blobs, 0)
	if b := p.breaker("hub", "blob"); b.Failures != 0 {
		t.Errorf("a URL that expired is a failure: %+v", b)
	}
}

// F14 A CDN that refuses every URL is given up after the second, for blobs
// alone: the registry itself is well.
func TestF14_CDNRefuses(t *testing.T) {
	t.Parallel()
	p := newHubPair(t, simnet.Quota{}, nil)
	p.hub.CDN.Inject(simnet.ExpiredURL())
	got := p.blob(1)
	p.wantCode(got, "hub", "signed_url")
	if got.servedBy() != "b" {
		t.Errorf("served by %q", got.servedBy())
	}
	p.wantAsked("hub", "GET", simnet.Blobs, 2)
	p.wantAsked("hub-cdn", "GET", simnet.Blobs, 2)
	// What a foreign host says is that request's alone.
	if b := p.breaker("hub", "blob"); b.Failures != 0 || b.State != "closed" {
		t.Errorf("the breaker of blobs is %+v, want no failure", b)
	}
	if b := p.breaker("hub", "manifest"); b.Failures != 0 {
		t.Errorf("the registry is blamed: %+v", b)
	}
	if got := p.manifest(); got.servedBy() != "hub" {
		t.Errorf("the manifest was served by %q", got.servedBy())
	}
}

// F14 URLs that expire while a blob is read: the stream is cut, the first new
// URL is refused too, and it goes on at its offset from the very same upstream.
func TestF14_ExpiresMidway(t *testing.T) {
	t.Parallel()
	p := newHubPair(t, simnet.Quota{}, func(c *rigConfig) {
		c.Chain = c.Chain[:1]
		c.Chain = append(c.Chain, lane{Name: "b", URL: "https://b.invalid"})
	})
	expired := simnet.ExpiredURL()
	expired.Skip, expired.Times = 1, 1
	p.hub.CDN.Inject(expired)
	p.hub.CDN.Inject(simnet.Fault{On: simnet.Blobs, Times: 1, Cut: simnet.EndFIN, CutFraction: 0.4})
	p.blob(1)
	p.wantAsked("hub", "GET", simnet.Blobs, 3)
	asked := p.net.Ledger().Find(simnet.Filter{Server: "hub-cdn", Method: "GET"})
	if len(asked) != 3 {
		t.Fatalf("the CDN was asked %d times, want 3", len(asked))
	}
	if first, again, last := asked[0], asked[1], asked[2]; first.Range != "" || again.Range == "" || again.Range != last.Range {
		t.Errorf("ranges %q, %q, %q; want the whole, then twice the rest", first.Range, again.Range, last.Range)
	}
	if last := asked[2]; last.Status != 206 {
		t.Errorf("the rest came with %d", last.Status)
	}
}
