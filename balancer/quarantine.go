package balancer

import (
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/lapse"
)

// A quarantine closes a lane that sent wrong bytes of several repositories: for five
// minutes, doubled each time, up to a day (docs/faults.md 7). It is guarded by its lane's mutex.
type quarantine struct {
	until time.Time
	level int
	cause *pullchain.Error
}

const (
	quarantineFirst = 5 * time.Minute
	quarantineMax   = 24 * time.Hour
)

// close begins a quarantine, unless one is under way: answers that were on their way
// when it began are the same finding. A day without another forgives.
func (q *quarantine) close(now time.Time, e *pullchain.Error) {
	if !lapse.Over(q.until, now) {
		return
	}
	if lapse.Age(q.until, now) > quarantineMax {
		q.level = 0
	}
	q.until = now.Add(min(quarantineFirst<<q.level, quarantineMax))
	q.cause = e
	q.level = min(q.level+1, 10) // beyond a day, and short of what would overflow
}
