package daemon_test

import (
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

func TestHealthyPair(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	p.manifest()
	p.blob(0)
	p.wantAsked("b", "GET", simnet.Manifests|simnet.Blobs, 0)
}
