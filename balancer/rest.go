package balancer

import (
	"time"

	"github.com/pullchain/pullchain"
)

// helperRest is how long a lane is not asked to help again after it failed to.
const helperRest = time.Minute

// neverMind reports whether e, the outcome of c, ends nothing but c. What was
// to help is load that we added of our own accord: that the far end refuses it
// says nothing of the requests it serves besides, and these find out soon enough
// what else may be wrong. Only a pause that it asks for is kept by all.
func (c *call) neverMind(e *pullchain.Error) bool {
	return c.req.Options.Speculative && e != nil && e.RetryAfter == 0
}

// rest keeps the lane from being asked to help for a while, because of e.
func (l *Lane) rest(now time.Time, e *pullchain.Error) {
	if e.Reason.Blame() == pullchain.BlameNobody {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.restUntil = now.Add(helperRest)
}
