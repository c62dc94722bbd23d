package daemon_test

import (
	"net/http"
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/simnet"
)

// newAidedKept is a pair with a cache, of which b may be asked beside a.
func newAidedKept(t *testing.T) *kept {
	t.Helper()
	k := newKept(t, func(c *rigConfig) {
		for i := range c.Chain {
			c.Chain[i].Keys = ""
		}
	})
	return k
}

// F53 The first upstream trickles its blobs, and the second is in order: each blob comes,
// and after the second the first is asked after it. No gate closes.
func TestF53_TricklingBlobs(t *testing.T) {
	t.Parallel()
	for _, rate := range []int64{1, 10 << 10} {
		k := newAidedKept(t)
		k.a.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: rate})
		img := simnet.Image{Repo: "library/slow", Tags: []string{"1"}, Layers: []simnet.Layer{{Size: 2 << 20, Seed: 50}, {Size: 300 << 10, Seed: 51}, {Size: 200 << 10, Seed: 52}, {Size: 100 << 10, Seed: 53}}}
		content := k.a.Push(img)
		k.b.Push(img)
		k.manifestOf(content)
		for i := range 2 {
			d, layer := content.Layer(i)
			k.wantBytes(content.BlobPath(d.Digest), layer)
		}
		k.eventually("a comes after b", func() bool { return k.lane("a").State == balancer.StateDegraded })
		if l := k.lane("a"); l.Code != pullchain.CodeTooSlow || len(l.Gates) != 0 || l.Until == nil {
			t.Errorf("a is %s for %s, gates %+v", l.State, l.Code, l.Gates)
		}
		before := k.asked("a", http.MethodGet, simnet.Blobs)
		for i := 2; i < 4; i++ {
			d, layer := content.Layer(i)
			k.wantBytes(content.BlobPath(d.Digest), layer)
		}
		if n := k.asked("a", http.MethodGet, simnet.Blobs) - before; n != 0 {
			t.Errorf("a was asked for %d of the blobs after it was found to be slow", n)
		}
		if n := k.breaker("a", "blob").Failures; n != 0 {
			t.Errorf("a's breaker counts %d failures", n)
		}
	}
}

// F53 The only upstream trickles: the client has its headers long before the
// bytes, and a client that comes again is not chained to the old connection.
func TestF53_TheOnlyPathTrickles(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) {
		c.Cache = cacheIn(t.TempDir())
		c.Chain = c.Chain[:1]
	})
	undo := p.a.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: 1})
	p.manifest()
	for i := range 2 {
		d, content := p.image.Layer(i)
		resp := p.open(p.image.BlobPath(d.Digest)) // it returns with the headers
		if resp.ContentLength != int64(len(content)) {
			t.Errorf("%d bytes are announced, want %d", resp.ContentLength, len(content))
		}
		resp.Body.Close()
	}
	if n := p.asked("a", http.MethodGet, simnet.Blobs); n > 4 {
		t.Errorf("%d requests for two blobs", n)
	}
	undo() // what is under way trickles on
	p.blob(0)
	p.blob(1)
}

// F53 Past the cache a lane that trickles is left for another at that byte.
func TestF53_TricklingBlobsPastTheCache(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.a.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: 4 << 10})
	img := simnet.Image{Repo: "library/slow", Tags: []string{"1"}, Layers: []simnet.Layer{{Size: 2 << 20, Seed: 50}, {Size: 3 << 20, Seed: 51}, {Size: 2 << 20, Seed: 52}}}
	content := p.a.Push(img)
	p.b.Push(img)
	p.manifestOf(content)
	for i := range 3 {
		d, layer := content.Layer(i)
		p.wantBytes(content.BlobPath(d.Digest), layer)
	}
	if n := p.asked("a", http.MethodGet, simnet.Blobs); n != 2 {
		t.Errorf("a was asked for %d of three blobs, want two", n)
	}
	if l := p.lane("a"); l.Code != pullchain.CodeTooSlow || len(l.Gates) != 0 {
		t.Errorf("a is %s for %s", l.State, l.Code)
	}
}

// F53 The first upstream trickles its manifests: the second answers, and after three in a
// row it is asked first.
func TestF53_TricklingManifests(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) { c.Chain[0].Patience = onlyHedges })
	p.a.Inject(simnet.Fault{On: simnet.Manifests, BytesPerSec: 50})
	// Three within what hedges may cost, then three that have waited for longer: on a machine
	// where b is slow too, it is some more.
	p.eventually("a comes after b", func() bool {
		p.wantServedBy(p.manifestOf(p.another()), "b")
		return p.lane("a").State == balancer.StateDegraded
	})
	if l := p.lane("a"); l.Code != pullchain.CodeTooSlow || len(l.Gates) != 0 {
		t.Errorf("a is %s for %s", l.State, l.Code)
	}
	before := p.asked("a", "", simnet.Manifests)
	p.wantServedBy(p.manifestOf(p.another()), "b")
	if n := p.asked("a", "", simnet.Manifests) - before; n != 0 {
		t.Errorf("a was asked %d times more", n)
	}
}
