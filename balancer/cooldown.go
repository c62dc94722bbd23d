package balancer

import (
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/pullchain/pullchain"
)

// A cooldown is the gate that a "too many requests" shuts until a time: the
// one the upstream named, else one that doubles from thirty seconds to a
// quarter of an hour (FAULTS.md F06, F07). It is guarded by its lane's mutex.
type cooldown struct {
	until time.Time
	began time.Time // when it was shut
	asked bool      // the upstream named the time: nobody asks it before, not even a forced try
	trial bool      // the time was guessed: before users come back, the prober looks
	cause error     // the answer that shut it
	next  *backoff.ExponentialBackOff
}

// Bounds of a guessed cooldown.
const (
	cooldownFirst = 30 * time.Second
	cooldownMax   = 15 * time.Minute
)

// shut closes the gate because of e.
func (c *cooldown) shut(now time.Time, e *pullchain.Error) {
	if e.RetryAfter > 0 {
		if until := now.Add(e.RetryAfter); until.After(c.until) {
			c.until, c.asked, c.trial = until, true, false
		}
		c.began, c.cause = now, e
		return
	}
	if now.Before(c.until) {
		return // answers that were under way when it shut
	}
	if c.next == nil {
		c.next = backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(cooldownFirst),
			backoff.WithMultiplier(2),
			backoff.WithRandomizationFactor(0.2),
			backoff.WithMaxInterval(cooldownMax),
			backoff.WithMaxElapsedTime(0),
		)
	}
	c.until, c.began, c.asked, c.trial, c.cause = now.Add(c.next.NextBackOff()), now, false, true, e
}

// ok ends the cooldown: the upstream answered a request sent at the time sent.
// An answer to one sent before it shut is old news. Only one that a quota counts
// (counted) ends the growth: a HEAD may pass where the next GET does not.
func (c *cooldown) ok(sent time.Time, counted bool) {
	if sent.Before(c.began) {
		return
	}
	*c = cooldown{next: c.next}
	if c.next != nil && counted {
		c.next.Reset()
	}
}

// cooling reports whether the gate is shut at now.
func (c *cooldown) cooling(now time.Time) bool { return now.Before(c.until) }
