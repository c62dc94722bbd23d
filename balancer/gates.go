package balancer

import (
	"errors"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/lapse"
)

// The gates of a lane, in the order in which they are looked at (docs/architecture.md, Gates). What
// people have decided comes before what was proved, that before what is measured,
// and what concerns all classes before what concerns one. So the first closed gate is
// the one worth telling of: the next would not open the lane. A gate that is closed
// keeps requests out, as a breaker does that is open.
//
// The words are those of the API, whose readers know "hold" for the dial backoff.
const (
	gateOperator    = "operator"
	gateQuarantine  = "quarantine"
	gateEgress      = "egress"
	gateProbe       = "probe"
	gateDialBackoff = "hold"
	gateCooldown    = "cooldown"
	gateBreaker     = "breaker"
	gateContent     = "content" // of one tag or digest, behind those of the lane
)

// gateFull keeps out only speculative requests, and only for the moment.
const gateFull = "full"

// gates is the state of a lane's gates, apart from the breakers and the egress,
// which guard themselves. It is guarded by its lane's mutex.
type gates struct {
	admin        adminState
	quarantine   quarantine
	probe        *probeResult // nil until there is one: the lane is taken to be up
	dialBackoff  dialBackoff
	cooldowns    [pullchain.NumClasses]cooldown
	failback     failbackHold
	grace        time.Time // a forced try went well: what may be overridden stands open until then
	ignoresRange bool      // it ignored or botched a Range
	contents     contentGates
	corruptions  spread    // of bytes that a digest proved wrong
	corrupted    time.Time // when such bytes came last
	limits       spread    // of pauses that were asked for single subjects
	slow         [pullchain.NumClasses]slowness
}

// forget opens all gates.
func (g *gates) forget() {
	*g = gates{contents: contentGates{}, corruptions: spread{}, limits: spread{}}
}

// A probeResult is what the prober makes of a lane. It is not changed once set.
type probeResult struct {
	down bool
	err  error // of the last probe
}

// dialBackoff is the pause of a few moments that a lane gets when it could not be
// connected to, long before its breaker trips (docs/faults.md F01, F02).
type dialBackoff struct {
	since time.Time
	until time.Time
	cause *pullchain.Error
}

// A refused connection costs nothing to find out, so the pause is only so long
// that a burst does not run into it. A silent one costs the request that finds
// out a second.
const (
	backoffRefused = 250 * time.Millisecond
	backoffSilent  = 10 * time.Second
)

func (d *dialBackoff) begin(now time.Time, pause time.Duration, cause *pullchain.Error) {
	*d = dialBackoff{since: now, until: now.Add(pause), cause: cause}
}

// A gateView is all that a lane's gates depend on, as a value: what they let
// through at a moment follows from it alone, also at moments to come. Two are
// equal when nothing has happened in between.
type gateView struct {
	admin        adminState
	quarantine   closure
	egress       closure
	probe        *probeResult
	dialBackoff  closure
	cooldowns    [pullchain.NumClasses]cooldownView
	breakers     [pullchain.NumClasses]breakerView
	canary       [pullchain.NumClasses]bool // there is a request by which the prober can try the class
	grace        time.Time
	failback     failbackView
	slow         [pullchain.NumClasses]time.Time // it comes after others before that
	ignoresRange bool
	asked        bool
}

// A closure is a gate that is closed before a time, because of a failure.
type closure struct {
	until time.Time
	cause *pullchain.Error
}

func (c *closure) at(now time.Time) bool { return !lapse.Over(c.until, now) }

// view returns the lane's gates as they stand.
func (l *Lane) view() gateView {
	var v gateView
	l.mu.Lock()
	g := &l.gates
	v.admin, v.probe, v.grace, v.ignoresRange, v.asked = g.admin, g.probe, g.grace, g.ignoresRange, l.past.asked
	v.quarantine = closure{g.quarantine.until, g.quarantine.cause}
	v.dialBackoff = closure{g.dialBackoff.until, g.dialBackoff.cause}
	v.failback = g.failback.view()
	for class := range g.cooldowns {
		v.cooldowns[class] = g.cooldowns[class].view()
		v.slow[class] = g.slow[class].until
		_, v.canary[class] = l.canary.of(pullchain.Class(class))
	}
	l.mu.Unlock()
	v.egress = l.cfg.Egress.view()
	for class, b := range l.breakers {
		v.breakers[class] = b.view()
	}
	return v
}

// A closedGate keeps a request from a lane.
type closedGate struct {
	lane    *Lane
	gate    string
	until   time.Time // zero when that is not known
	binding bool      // the upstream itself named the time, for what is asked now
	cause   error     // why the gate was closed
}

var (
	errAdmin = errors.New("taken out by the operator")
	errDown  = errors.New("its probes fail")
	errOpen  = errors.New("its breaker is open")
	errFull  = errors.New("at its limit of connections")
)

// closed returns the first gate that is closed for req, or nil. It is asked of each
// lane for each request, so it takes no more than the locks of a view.
func (l *Lane) closed(req pullchain.Request, now time.Time) *closedGate {
	v := l.view()
	return l.closedIn(&v, req, now)
}

// closedFor returns the closed gate of what req is about, or nil.
func (l *Lane) closedFor(req pullchain.Request, now time.Time) *closedGate {
	l.mu.Lock()
	g := l.gates.contents.closed(subjectOf(req), now)
	l.mu.Unlock()
	if g == nil {
		return nil
	}
	if cause, ok := errorsAs(g.cause); ok && cause.Reach == pullchain.ReachToken && !l.up.NeedsToken(req) {
		return nil // the token server asked for the pause, and is not to be asked
	}
	g.lane = l
	return g
}

// closedIn returns the gate of v, the lane's, that is closed for req, or nil: the first, or
// that of req's content where that alone forbids a forced try.
func (l *Lane) closedIn(v *gateView, req pullchain.Request, now time.Time) *closedGate {
	g := v.closed(req.Class(), now, func() bool { return l.up.NeedsToken(req) })
	if g == nil || g.overridable() {
		if own := l.closedFor(req, now); own != nil && (g == nil || own.binding) {
			return own
		}
	}
	if g != nil {
		g.lane = l
	}
	return g
}

// closed returns the first gate that is closed for a request of class at now, or
// nil. needsToken is called only if the token server's gates are closed. While
// grace lasts, the gates that may be overridden are open.
func (v *gateView) closed(class pullchain.Class, now time.Time, needsToken func() bool) *closedGate {
	g := v.closedBeforeBreakers(class, now)
	if now.Before(v.grace) {
		if g != nil && (!g.overridable() || g.gate == gateQuarantine) { // an answer is no proof of right bytes
			return g
		}
		return nil
	}
	if g == nil {
		g = v.closedBreaker(class, now)
	}
	if g == nil {
		g = v.closedToken(now, needsToken)
	}
	return g
}

// closedBeforeBreakers looks at the gates that stand before the breakers. gobreaker
// knows no "until T" and one open time for all failures, so what has a time of its
// own, a 429 above all, never reaches it.
func (v *gateView) closedBeforeBreakers(class pullchain.Class, now time.Time) *closedGate {
	cool := &v.cooldowns[class]
	switch {
	case v.admin.at(now) != "":
		return &closedGate{gate: gateOperator, until: v.admin.until, cause: &pullchain.Error{Code: pullchain.CodeAdmin, Err: errAdmin}}
	case v.quarantine.at(now):
		return v.quarantine.gate(gateQuarantine)
	case v.egress.at(now):
		return v.egress.gate(gateEgress)
	case v.probe != nil && v.probe.down:
		return &closedGate{gate: gateProbe, cause: orElse(v.probe.err, errDown)}
	case v.dialBackoff.at(now):
		return v.dialBackoff.gate(gateDialBackoff)
	case cool.at(now):
		return cool.gate(now)
	case cool.trial && v.proberTakesTrial(class) && lapse.Age(cool.until, now) < trialGrace:
		g := cool.gate(now)
		g.until = cool.until.Add(trialGrace)
		return g
	}
	return nil
}

func (c *closure) gate(name string) *closedGate {
	return &closedGate{gate: name, until: c.until, cause: c.cause}
}

// trialGrace is how long after a guessed cooldown, or a breaker's open time, users
// wait for the prober to look first. Its look is a HEAD, which no quota counts.
const trialGrace = 15 * time.Second

// proberTakesTrial reports whether the prober has what it needs to take a trial
// of class, so that no user has to.
func (v *gateView) proberTakesTrial(class pullchain.Class) bool {
	return v.canary[class] && v.probe != nil
}

// closedBreaker returns the breaker in the way of requests of this class, or nil.
// A breaker that a failure of the whole upstream tripped is in the way of all
// classes. Half-open is closed to users while the prober has the canary request
// to take the trial itself, and time to do it (docs/faults.md F41).
func (v *gateView) closedBreaker(class pullchain.Class, now time.Time) *closedGate {
	for c := range v.breakers {
		b := &v.breakers[c]
		word, own := b.word(now), pullchain.Class(c) == class
		if word == breakerClosed || !own && !b.wide {
			continue
		}
		if word == breakerHalfOpen && (!own || lapse.Age(b.until, now) >= trialGrace || !v.proberTakesTrial(class)) {
			continue
		}
		return b.gate()
	}
	return nil
}

// gate returns the gate that the breaker is while it is in the way.
func (v *breakerView) gate() *closedGate {
	g := &closedGate{gate: gateBreaker, until: v.until, cause: errOpen}
	if v.cause != nil {
		g.cause = v.cause
	}
	return g
}

// trialClosed is why a breaker did not let a request through after all: it has
// just tripped, or it is half-open and another request takes the trial.
func (l *Lane) trialClosed(class pullchain.Class, now time.Time) *closedGate {
	v := l.view()
	g := v.closedBreaker(class, now)
	if g == nil {
		g = v.breakers[class].gate()
		g.until = time.Time{}
	}
	g.lane = l
	return g
}

// closedToken returns the token server's gate, if a token is needed. It is another
// host than the registry's, which fails and bans by itself: failed logins ban an
// address (docs/protocol.md 4.1). Requests for which there is a token yet go on.
func (v *gateView) closedToken(now time.Time, needed func() bool) *closedGate {
	cool, breaker := &v.cooldowns[pullchain.ClassToken], &v.breakers[pullchain.ClassToken]
	if !cool.at(now) && breaker.word(now) != breakerOpen || !needed() {
		return nil
	}
	if cool.at(now) {
		return cool.gate(now)
	}
	return breaker.gate()
}

// tokenMatters reports whether the token server's gates may be closed.
func (v *gateView) tokenMatters() bool {
	return !v.cooldowns[pullchain.ClassToken].until.IsZero() || v.breakers[pullchain.ClassToken].tripped
}

// overridable reports whether the gate is closed on a guess of ours. When nothing
// else is left, such a lane is tried all the same: a wrong guess must not be an
// outage. What the operator or the upstream itself decided stands. That a lane has sent
// wrong bytes of some images is a guess about the next one, which its digest proves.
func (g *closedGate) overridable() bool {
	switch g.gate {
	case gateOperator:
		return false
	case gateCooldown, gateContent:
		return !g.binding
	}
	return true
}

// err is what a request is told that met only this gate: what closed it, and when to
// come back. The error keeps no Reach and is never Final: it is old, and not about
// what is asked for now (docs/faults.md 0.5).
func (g *closedGate) err(now time.Time) *pullchain.Error {
	e := &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeGate, Err: g.cause}
	if g.lane != nil {
		e.Upstream = g.lane.Name()
	}
	if cause, ok := errorsAs(g.cause); ok {
		e.Reason, e.Code, e.Status, e.Err = cause.Reason, cause.Code, cause.Status, cause.Err
	}
	switch e.Reason {
	case pullchain.NotFound, pullchain.Denied, pullchain.Invalid: // of what the probe asked for
		e.Reason, e.Status = pullchain.Unavailable, 0
	}
	if !g.until.IsZero() && g.gate != gateOperator { // the operator may be done sooner, and a client that is told an hour waits for it
		e.RetryAfter = lapse.Left(g.until, now)
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
