package otlp

import (
	"testing"

	"github.com/pullchain/pullchain/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
