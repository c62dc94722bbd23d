package upstreams

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pullchain/pullchain/internal/egress"
)

var egressDirect = egress.Config{}

// TestMain also looks for goroutines that have not ended.
func TestMain(m *testing.M) { goleak.VerifyTestMain(patient{m}) }

// A patient run gives what is about to end as long as a busy machine takes for it:
// goleak itself waits for less than a second.
type patient struct{ *testing.M }

func (p patient) Run() int {
	code := p.M.Run()
	for end := time.Now().Add(time.Minute); code == 0 && goleak.Find() != nil && time.Now().Before(end); {
	}
	return code
}
