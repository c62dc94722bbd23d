package access

import (
	"testing"

	"github.com/pullchain/pullchain/internal/leaktest"
)

// TestMain also looks for goroutines that are left running.
func TestMain(m *testing.M) { leaktest.Main(m) }
