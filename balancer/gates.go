package balancer

import (
	"errors"
	"time"

	"github.com/pullchain/pullchain"
)

// The gates of a lane, in the order in which they are looked at (DESIGN.md).
const (
	gateOperator   = "operator"
	gateQuarantine = "quarantine"
	gateEgress     = "egress"
	gateProbe      = "probe"
	gateHold       = "hold"
	gateCooldown   = "cooldown"
	gateBreaker    = "breaker"
)

// gateFull keeps out only what was to help, and only for the moment.
const gateFull = "full"

// A shut is a gate that keeps a request from a lane.
type shut struct {
	lane  *Lane
	gate  string
	until time.Time // zero when nobody knows
	asked bool      // the upstream named the time
	cause error     // why the gate was shut
}

var (
	errWish = errors.New("taken out by the operator")
	errDown = errors.New("its probes fail")
	errOpen = errors.New("its breaker is open")
	errFull = errors.New("at its limit of connections")
)

// shut returns the first gate that is shut for req, or nil.
func (l *Lane) shut(req pullchain.Request, now time.Time) *shut {
	until, cause := l.cfg.Egress.shut(now)
	l.mu.Lock()
	s := l.shutLocked(req, now, until, cause)
	vouched := now.Before(l.vouched)
	l.mu.Unlock()
	if s != nil && !(vouched && s.guess()) {
		return s
	}
	if vouched {
		return nil
	}
	if s := l.breakerShut(req.Class(), now); s != nil {
		return s
	}
	return l.tokenShut(req, now)
}

func (l *Lane) shutLocked(req pullchain.Request, now, egressUntil time.Time, egressCause error) *shut {
	cool := &l.cooldowns[req.Class()]
	switch {
	case l.wish != "":
		return &shut{lane: l, gate: gateOperator, cause: &pullchain.Error{Code: pullchain.CodeAdmin, Err: errWish}}
	case now.Before(l.quarantine.until):
		return &shut{lane: l, gate: gateQuarantine, until: l.quarantine.until, cause: l.quarantine.cause}
	case egressCause != nil:
		return &shut{lane: l, gate: gateEgress, until: egressUntil, cause: egressCause}
	case l.verdict.down:
		return &shut{lane: l, gate: gateProbe, cause: orElse(l.verdict.err, errDown)}
	case now.Before(l.hold.until):
		return &shut{lane: l, gate: gateHold, until: l.hold.until, cause: l.hold.cause}
	case cool.cooling(now):
		return &shut{lane: l, gate: gateCooldown, until: cool.until, asked: cool.asked, cause: cool.cause}
	case cool.trial && l.proberTakesTrialLocked(req.Class()) && now.Sub(cool.until) < trialGrace:
		return &shut{lane: l, gate: gateCooldown, until: cool.until.Add(trialGrace), cause: cool.cause}
	}
	return nil
}

// trialGrace is how long after a guessed cooldown users wait for the prober to
// look first. Its look is a HEAD, which no quota counts.
const trialGrace = 15 * time.Second

// breakerShut returns the breaker in the way of requests of this class, or nil.
// A breaker that a failure of the whole upstream tripped is in the way of all
// classes. Half-open is shut to users while the prober has the evidence to take
// the trial itself, and time to do it (FAULTS.md F41).
func (l *Lane) breakerShut(class pullchain.Class, now time.Time) *shut {
	for c, b := range l.breakers {
		s := b.state(now)
		if s.word == closed || pullchain.Class(c) != class && !s.wide {
			continue
		}
		if s.word == halfOpen && (pullchain.Class(c) != class || now.Sub(s.until) > trialGrace || !l.proberTakesTrial(class)) {
			continue
		}
		return &shut{lane: l, gate: gateBreaker, until: s.until, cause: orElse(s.cause, errOpen)}
	}
	return nil
}

// trialShut is why a breaker did not let a request through after all: it has
// just tripped, or it is half-open and somebody else's trial is under way.
func (l *Lane) trialShut(class pullchain.Class, now time.Time) *shut {
	if s := l.breakerShut(class, now); s != nil {
		return s
	}
	return &shut{lane: l, gate: gateBreaker, cause: orElse(l.breakers[class].state(now).cause, errOpen)}
}

// tokenShut returns the token server's gate, if req needs it.
func (l *Lane) tokenShut(req pullchain.Request, now time.Time) *shut {
	l.mu.Lock()
	cool := l.cooldowns[pullchain.ClassToken]
	l.mu.Unlock()
	breaker := l.breakers[pullchain.ClassToken].state(now)
	if !cool.cooling(now) && breaker.word != open || !l.up.NeedsToken(req) {
		return nil
	}
	if cool.cooling(now) {
		return &shut{lane: l, gate: gateCooldown, until: cool.until, asked: cool.asked, cause: cool.cause}
	}
	return &shut{lane: l, gate: gateBreaker, until: breaker.until, cause: orElse(breaker.cause, errOpen)}
}

// guess reports whether the gate is shut on a guess of ours. When nothing else
// is left, such a lane is tried all the same: a wrong guess must not be an
// outage. What the operator, the upstream itself or wrong bytes decided stands.
func (s *shut) guess() bool {
	switch s.gate {
	case gateOperator, gateQuarantine:
		return false
	case gateCooldown:
		return !s.asked
	}
	return true
}

// err is what a request is told that met only this gate.
func (s *shut) err(now time.Time) *pullchain.Error {
	e := &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeGate, Upstream: s.lane.Name(), Err: s.cause}
	if cause, ok := errorsAs(s.cause); ok {
		e.Reason, e.Code, e.Status, e.Err = cause.Reason, cause.Code, cause.Status, cause.Err
	}
	if !s.until.IsZero() {
		e.RetryAfter = max(s.until.Sub(now), 0)
	}
	return e
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

func errorsAs(err error) (*pullchain.Error, bool) { return errors.AsType[*pullchain.Error](err) }
