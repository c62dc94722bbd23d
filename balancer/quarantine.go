package balancer

import (
	"time"

	"github.com/pullchain/pullchain"
)

// A quarantine closes a lane that sent wrong bytes: for five minutes, doubled
// each time, up to a day (docs/faults.md 7). It is guarded by its lane's mutex.
type quarantine struct {
	until    time.Time
	level    int
	cause    *pullchain.Error
	refusals []time.Time
}

// Refusals by our own policy, as of a redirect to a private address, are not proof of
// wrong bytes; an upstream that draws them again and again is no use all the same
// (docs/faults.md 7).
const (
	quarantineFirst   = 5 * time.Minute
	quarantineMax     = 24 * time.Hour
	refusalWindow     = 10 * time.Minute
	refusalsTolerated = 2 // the third in the window quarantines
)

// close begins a quarantine, unless one is under way: answers that were on their way
// when it began are the same finding. A day without another forgives.
func (q *quarantine) close(now time.Time, e *pullchain.Error) {
	if now.Before(q.until) {
		return
	}
	if now.Sub(q.until) > quarantineMax {
		q.level = 0
	}
	q.until = now.Add(min(quarantineFirst<<q.level, quarantineMax))
	q.cause = e
	q.level = min(q.level+1, 10) // beyond a day, and short of what would overflow
}

// refused counts a refusal by our own policy, and reports whether it is one
// too many.
func (q *quarantine) refused(now time.Time) bool {
	q.refusals = append(recent(q.refusals, now.Add(-refusalWindow)), now)
	return len(q.refusals) > refusalsTolerated
}

// lift ends a quarantine that was for serving web pages: a probe has seen a
// registry again, so the captive portal is gone. Wrong bytes are not forgiven
// for that.
func (q *quarantine) lift() {
	if q.cause != nil && q.cause.Code == pullchain.CodeNotRegistry {
		q.until, q.cause = time.Time{}, nil
	}
}
