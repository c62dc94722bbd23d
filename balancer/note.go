package balancer

import (
	"time"

	"github.com/pullchain/pullchain"
)

// note draws the consequences of an outcome, apart from the breaker's: which
// gates shut, which open, and what is remembered. e is nil for a success.
// Together with breaker.outcome it is DESIGN.md's table over Reason.
func (l *Lane) note(c *call, e *pullchain.Error) {
	now := time.Now()
	class := c.req.Class()
	if e == nil {
		l.cfg.Egress.ok(c.began)
		l.noteSuccess(c, now)
		return
	}
	if c.neverMind(e) {
		l.rest(now, e)
		return
	}
	switch {
	case e.Reason == pullchain.Egress:
		l.cfg.Egress.fail(e)
	case e.Status != 0:
		l.cfg.Egress.ok(c.began) // whatever the answer, it came through
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Reason == pullchain.Canceled || e.Reason == pullchain.Invalid {
		return
	}
	l.lastError, l.lastFailed = e, now
	switch e.Reason.Blame() {
	case pullchain.BlameNobody: // it answered: it works
		l.cooldowns[class].ok(c.began, !c.req.Head)
		l.latch.success(now)
		l.evidence.forget(c.req)
	case pullchain.BlameCooldown:
		for _, class := range scopeClasses(e.Scope, class) {
			l.cooldowns[class].shut(now, e)
		}
	case pullchain.BlameQuarantine:
		l.noteCorrupt(c, e, now)
	case pullchain.BlameCounted:
		if e.Scope != pullchain.ScopeRequest && l.quarantine.refused(now) {
			l.quarantine.shut(now, e)
			l.latch.trouble()
		}
	case pullchain.BlameBreaker:
		l.noteUnavailable(e, now)
	}
}

func (l *Lane) noteSuccess(c *call, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	class := c.req.Class()
	l.cooldowns[class].ok(c.began, !c.req.Head)
	if c.token != nil {
		l.cooldowns[pullchain.ClassToken].ok(c.began, true)
	}
	l.lastServed[class] = now
	if !c.began.Before(l.hold.since) {
		l.hold = hold{}
	}
	if now.Before(l.vouched) {
		l.vouched = now.Add(vouchFor)
	}
	l.latch.success(now)
}

// noteCorrupt takes wrong bytes for what they are, but a botched range for a
// missing skill: the lane serves whole blobs as well as any.
func (l *Lane) noteCorrupt(c *call, e *pullchain.Error, now time.Time) {
	ranged := !c.req.Range.Whole()
	switch {
	case ranged && (e.Code == pullchain.CodeWrongRange || e.Code == pullchain.CodeEncoded):
		l.ignores = true
	case e.Scope == pullchain.ScopeRequest:
	default:
		l.quarantine.shut(now, e)
		l.latch.trouble()
	}
}

func (l *Lane) noteUnavailable(e *pullchain.Error, now time.Time) {
	if e.Scope != pullchain.ScopeUpstream {
		return
	}
	switch e.Code {
	case pullchain.CodeConnRefused:
		l.holdLocked(now, holdRefused, e)
	case pullchain.CodeConnTimeout:
		l.holdLocked(now, holdSilent, e)
	}
}

func (l *Lane) holdLocked(now time.Time, d time.Duration, cause error) {
	l.hold = hold{since: now, until: now.Add(d), cause: cause}
}

// dataClasses are those that serve content; the token server's gates are apart.
var dataClasses = []pullchain.Class{pullchain.ClassManifest, pullchain.ClassBlob}

// scopeClasses returns the classes that a failure of a request of class c
// speaks of.
func scopeClasses(s pullchain.Scope, c pullchain.Class) []pullchain.Class {
	switch s {
	case pullchain.ScopeUpstream:
		return dataClasses
	case pullchain.ScopeToken:
		return []pullchain.Class{pullchain.ClassToken}
	case pullchain.ScopeRequest:
		return nil
	}
	return []pullchain.Class{c}
}

// quarantinedFor returns why the lane is in quarantine, or nil if it is not.
func (l *Lane) quarantinedFor(now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.quarantine.cause == nil || !now.Before(l.quarantine.until) {
		return nil
	}
	return l.quarantine.cause
}

// A quarantine shuts out a lane that sent wrong bytes: five minutes, doubled
// each time, up to a day (FAULTS.md 7). It is guarded by its lane's mutex.
type quarantine struct {
	until    time.Time
	level    int
	cause    *pullchain.Error
	refusals []time.Time
}

const (
	quarantineFirst   = 5 * time.Minute
	quarantineMax     = 24 * time.Hour
	refusalWindow     = 10 * time.Minute
	refusalsTolerated = 2 // the third in the window quarantines
)

func (q *quarantine) shut(now time.Time, e *pullchain.Error) {
	if now.Before(q.until) {
		return
	}
	if now.Sub(q.until) > quarantineMax {
		q.level = 0
	}
	q.until = now.Add(min(quarantineFirst<<q.level, quarantineMax))
	q.cause = e
	q.level = min(q.level+1, 10)
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

// A latch keeps a lane that was in trouble behind those that were not, until it
// has proved itself: a minute without trouble, and three successes
// (FAULTS.md 7b.3). It is guarded by its lane's mutex.
type latch struct {
	troubled bool
	since    time.Time // when the trouble ended; zero while it lasts
	proofs   int
}

const (
	latchTime   = time.Minute
	latchProofs = 3
)

func (t *latch) trouble()                { *t = latch{troubled: true} }
func (t *latch) recovered(now time.Time) { t.since, t.proofs = now, 0 }

func (t *latch) success(now time.Time) {
	if t.since.IsZero() {
		t.since = now
	}
	t.proofs++
}

func (t *latch) settled(now time.Time) bool {
	if t.troubled && !t.since.IsZero() && t.proofs >= latchProofs && now.Sub(t.since) >= latchTime {
		t.troubled = false
	}
	return !t.troubled
}
