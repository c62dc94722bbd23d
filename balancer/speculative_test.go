package balancer

import (
	"testing"

	"github.com/pullchain/pullchain"
)

// named is an upstream that is not asked anything.
type named struct{ Upstream }

func (named) Name() string                      { return "a" }
func (named) NeedsToken(pullchain.Request) bool { return false }

// Speculative requests that were chosen at the same time do not count one another; the gate
// does.
func TestTheLimitHoldsForSpeculativeRequestsAtOnce(t *testing.T) {
	t.Parallel()
	l := NewLane(named{}, LaneConfig{MaxConnections: 2})
	plain := pullchain.Request{Op: pullchain.Blob, Digest: "sha256:1"}
	help := plain
	help.Options.Speculative = true
	for i, want := range []bool{true, true, false, false} {
		if a, g := l.admit(help, false, false); (a != nil) != want || (g == nil) != want {
			t.Errorf("request %d: let through %v, want %v", i, a != nil, want)
		}
	}
	if a, g := l.admit(plain, false, false); a == nil {
		t.Errorf("a request of a client's own met %+v", g)
	}
	if n := l.load.inFlight.Load(); n != 3 {
		t.Errorf("%d in flight, want 3", n)
	}
}
