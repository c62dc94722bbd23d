package balancer

import (
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/lapse"
)

// A cooldown is the gate that a "too many requests" closes until a time: the
// one the upstream named, else one that doubles from thirty seconds to a
// quarter of an hour (docs/faults.md F06, F07). It is guarded by its lane's mutex.
type cooldown struct {
	cooldownView
	began time.Time // when it was closed
	next  *backoff.ExponentialBackOff
}

// A cooldownView is what a cooldown lets through, as a value.
type cooldownView struct {
	until time.Time
	named bool             // the upstream named the time
	bound time.Time        // until then no forced try is made: it was not said to one image alone
	trial bool             // the time was guessed: before users come back, the prober looks
	cause *pullchain.Error // the answer that closed it
}

// Bounds of a guessed cooldown. It is spread by a fifth, so that replicas and lanes
// that were limited together do not come back together.
const (
	cooldownFirst = 30 * time.Second
	cooldownMax   = 15 * time.Minute
)

// close closes the gate because of e. A time that was named only ever gets longer: a
// second answer may name less than what the first has left, and coming back early is
// what extends a ban (docs/faults.md F09). wide says that it is meant for more than the
// one image that was asked for.
func (c *cooldown) close(now time.Time, e *pullchain.Error, wide bool) {
	if e.RetryAfter > 0 {
		until := now.Add(e.RetryAfter)
		if until.After(c.until) || !c.at(now) {
			c.until, c.named, c.trial = until, true, false
		}
		if wide && (until.After(c.bound) || lapse.Over(c.bound, now)) {
			c.bound = until
		}
		c.began, c.cause = now, e
		return
	}
	if c.at(now) {
		return // answers that were under way when it closed
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
	c.cooldownView = cooldownView{until: now.Add(c.next.NextBackOff()), trial: true, cause: e}
	c.began = now
}

// ok ends the cooldown: the upstream answered a request sent at the time sent.
// An answer to one sent before it closed is old news. Only one that a quota counts
// (counted) starts the doubling anew: a HEAD may pass where the next GET does not.
func (c *cooldown) ok(sent time.Time, counted bool) {
	if sent.Before(c.began) || !counted && c.named && c.at(sent) {
		return
	}
	*c = cooldown{next: c.next}
	if c.next != nil && counted {
		c.next.Reset()
	}
}

func (c *cooldown) view() cooldownView { return c.cooldownView }

// at reports whether the gate is closed at now.
func (v *cooldownView) at(now time.Time) bool { return !lapse.Over(v.until, now) }

// boundAt reports whether the upstream has bound all requests of the class at now.
func (v *cooldownView) boundAt(now time.Time) bool { return !lapse.Over(v.bound, now) }

func (v *cooldownView) gate(now time.Time) *closedGate {
	return &closedGate{gate: gateCooldown, until: v.until, binding: v.boundAt(now), cause: v.cause}
}
