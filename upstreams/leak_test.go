package upstreams

import (
	"testing"

	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/leaktest"
)

var egressDirect = egress.Config{}

// TestMain also looks for goroutines that are left running.
func TestMain(m *testing.M) { leaktest.Main(m) }
