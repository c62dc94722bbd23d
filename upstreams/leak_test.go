package upstreams

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/pullchain/pullchain/internal/egress"
)

var egressDirect = egress.Config{}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
