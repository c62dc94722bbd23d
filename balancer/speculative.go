package balancer

import (
	"time"

	"github.com/pullchain/pullchain"
)

// speculativePause is how long a lane is sent no speculative request after it has
// failed one.
const speculativePause = time.Minute

// onlyItself reports whether e, the outcome of a, says something of a alone. A
// speculative request is load that we added of our own accord: that the far end
// refuses it says nothing of the requests it serves besides, and these find out
// soon enough what else may be wrong. Only a pause that it asks for is kept by all.
func (a *admission) onlyItself(e *pullchain.Error) bool {
	return a.req.Options.Speculative && e != nil && e.RetryAfter == 0
}

// backOff keeps speculative requests from the lane for a while, because of e.
func (l *Lane) backOff(now time.Time, e *pullchain.Error) {
	if e.Reason.Blame() == pullchain.BlameNobody {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.backoff = now.Add(speculativePause)
}
