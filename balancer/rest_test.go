package balancer

import (
	"testing"

	"github.com/pullchain/pullchain"
)

// named is an upstream that is not asked anything.
type named struct{ Upstream }

func (named) Name() string                      { return "a" }
func (named) NeedsToken(pullchain.Request) bool { return false }

// Helpers that were chosen at the same time do not count one another; the gate
// does.
func TestTheLimitHoldsForHelpersAtOnce(t *testing.T) {
	t.Parallel()
	l := NewLane(named{}, LaneConfig{MaxConnections: 2})
	plain := pullchain.Request{Op: pullchain.Blob, Digest: "sha256:1"}
	help := plain
	help.Options.Speculative = true
	for i, want := range []bool{true, true, false, false} {
		if c, s := l.begin(help, false, false); (c != nil) != want || (s == nil) != want {
			t.Errorf("helper %d: let through %v, want %v", i, c != nil, want)
		}
	}
	if c, s := l.begin(plain, false, false); c == nil {
		t.Errorf("a request of a client's own met %+v", s)
	}
	if n := l.inFlight.Load(); n != 3 {
		t.Errorf("%d in flight, want 3", n)
	}
}
