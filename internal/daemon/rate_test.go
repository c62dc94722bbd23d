package daemon_test

import (
	"testing"
	"time"
)

// A bound on an egress holds for a blob, and the lane that is held back by it gets no
// company, though the same pace would get it some if it were the lane's own.
func TestRateOfAnEgress(t *testing.T) {
	t.Parallel()
	const bound = 150 << 10
	p := newPair(t, func(c *rigConfig) {
		c.Top = "[egress.line]\nrate = \"150KiB/s\"\n"
		c.Cache = cacheIn(t.TempDir())
		c.Chain[0].Keys, c.Chain[0].Patience = "egress = \"line\"", "rate = \"512KiB/s\""
	})
	p.probed("a", "b")
	layer, content := p.image.Layer(1)
	began := time.Now()
	p.wantBytes(p.image.BlobPath(layer.Digest), content)
	if took, least := time.Since(began), time.Duration(len(content)-bound/10)*time.Second/bound; took < least {
		t.Errorf("%d bytes in %v, faster than the bound, which takes %v", len(content), took, least)
	}
	if n := p.asked("b", "GET", 0); n > p.probes("b") {
		t.Errorf("b was asked %d times, %d of them by its prober", n, p.probes("b"))
	}
	if l := p.lane("a"); l.Code != "" {
		t.Errorf("a is called %s", l.Code)
	}
}
