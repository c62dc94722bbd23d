package balancer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain"
)

// Upstream is what a Lane drives: one path to one registry, one attempt a call.
type Upstream interface {
	pullchain.Fetcher
	Name() string
	// Ping asks the cheapest question that proves a registry is there.
	Ping(ctx context.Context) error
	// NeedsToken reports whether fetching req would ask the token server first.
	NeedsToken(req pullchain.Request) bool
	// Facts returns what has been learnt of the far end.
	Facts() pullchain.Facts
	// Login returns a fingerprint of the login that the answers take, or "" if
	// they take none.
	Login() string
}

// A Lane is an upstream as the balancer sees it: with its breakers, its
// cooldowns, its probe result and the operator's admin state. It is the unit of
// health; its state belongs to its identity in the configuration and never to
// an address. It is safe for concurrent use.
type Lane struct {
	up       Upstream
	cfg      LaneConfig
	breakers [pullchain.NumClasses]*breaker
	ledger   laneLedger
	forced   forcedTries
	load     load

	chain atomic.Pointer[chainStates] // where changes are reported; nil before a Balancer has it
	seen  atomic.Pointer[gateView]    // as it was last reported

	// mu is taken inside a breaker's own mutex (see breakerChanged) and inside that
	// of the events. So it is never held while a breaker, the upstream or the chain
	// is asked anything.
	mu      sync.Mutex
	gates   gates
	past    past
	canary  canary
	backoff time.Time // a speculative request failed here: no other is made before
}

// A load is what a lane has in flight, and what is counted beside its ledger.
type load struct {
	inFlight atomic.Int64
	extra    atomic.Int64 // of those, hedges and parallel starts
	queue    queue        // of those, without a connection
	hearing  hearing
	received atomic.Int64  // bytes of content, since the lane was made
	opened   atomic.Uint64 // times that a breaker has opened since then
	closed   atomic.Uint64
}

// NewLane returns a lane over up whose gates all stand open.
func NewLane(up Upstream, cfg LaneConfig) *Lane {
	if cfg.Weight == 0 {
		cfg.Weight = 1
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = 32
	}
	if cfg.Via == "" {
		cfg.Via = "direct"
	}
	cfg.Patience = cfg.Patience.WithDefaults()
	l := &Lane{up: up, cfg: cfg, forced: forcedTries{m: map[subject]*forcedTry{}}}
	l.gates.forget()
	for class := range l.breakers {
		l.breakers[class] = newBreaker(up.Name()+" "+pullchain.Class(class).String(), cfg.Breaker, l.breakerChanged)
	}
	return l
}

// Name returns the upstream's name.
func (l *Lane) Name() string { return l.up.Name() }

// SetProbeResult tells the lane what its prober makes of it: whether it is up,
// and the error of the last probe, which may be nil.
func (l *Lane) SetProbeResult(up bool, err error) {
	defer l.changed()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.past.lastPassed = time.Now()
	}
	was := l.gates.probe
	if was == nil || was.down == up || was.err != nil || err != nil {
		l.gates.probe = &probeResult{down: !up, err: err}
	}
	switch {
	case !up:
		l.gates.failback.trouble()
	case was != nil && was.down:
		l.gates.failback.recovered(time.Now())
	}
}

// breakerChanged takes note that one of the lane's breakers has tripped or
// closed. It is called under the breaker's mutex.
func (l *Lane) breakerChanged(tripped bool) {
	if tripped {
		l.load.opened.Add(1)
	} else {
		l.load.closed.Add(1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if tripped {
		l.gates.failback.trouble()
	} else {
		l.gates.failback.recovered(time.Now())
	}
}

// An admission is one request that a lane's gates let through.
type admission struct {
	lane    *Lane
	req     pullchain.Request
	began   time.Time
	breaker *breakerPermit
	token   *breakerPermit // when the token server has to be asked first
	extra   bool
	once    sync.Once
}

// admit lets req through the lane's gates, or says which one is closed. A forced
// request goes past the gates that may be overridden. Every admission must end
// once.
func (l *Lane) admit(req pullchain.Request, force, extra bool) (*admission, *closedGate) {
	now := time.Now()
	v := l.view()
	if g := l.closedIn(&v, req, now); g != nil && !(force && g.overridable()) {
		return nil, g
	}
	// Counted first and looked at then: several that are let through at once would
	// otherwise not see each other.
	if n := l.load.inFlight.Add(1); req.Options.Speculative && n > int64(l.cfg.MaxConnections) {
		l.load.inFlight.Add(-1)
		return nil, &closedGate{lane: l, gate: gateFull, cause: errFull}
	}
	a := &admission{lane: l, req: req, began: now, extra: extra}
	var ok bool
	if a.breaker, ok = l.breakers[req.Class()].allow(now, subjectOf(req)); !ok && !force && !now.Before(v.grace) {
		l.load.inFlight.Add(-1)
		return nil, l.trialClosed(req.Class(), now)
	}
	// The token server's gate has been looked at above. Where its breaker gives no permit
	// all the same, half-open with another trial under way, the request goes uncounted.
	if l.up.NeedsToken(req) {
		a.token, _ = l.breakers[pullchain.ClassToken].allow(now, subjectOf(req))
	}
	if extra {
		l.load.extra.Add(1)
	}
	if !v.asked {
		l.mu.Lock()
		l.past.asked = true
		l.mu.Unlock()
		l.changed()
	}
	return a, nil
}

// end reports how the request went: nil when everything that was read was right.
// Only the first report counts: gobreaker would count a second one as another
// request, and a body may fail, be closed, and be judged by its digest.
func (a *admission) end(err error) {
	a.once.Do(func() {
		a.lane.load.inFlight.Add(-1)
		if a.extra {
			a.lane.load.extra.Add(-1)
		}
		e := asError(err)
		switch {
		case a.onlyItself(e):
			a.token.end(errExcluded)
			a.breaker.end(errExcluded)
		case e != nil && e.Reach == pullchain.ReachToken:
			a.token.end(err)
			a.breaker.end(errExcluded)
		default:
			a.token.end(tokenOutcome(err))
			a.breaker.end(err)
		}
		a.lane.ledger.count(a.req, e)
		a.lane.learn(a, e)
	})
}

// tokenOutcome is what a request that did not fail for its token says of the
// token server: that it works, if the request got as far as an answer.
func tokenOutcome(err error) error {
	if outcome(err) == nil {
		return nil
	}
	return errExcluded
}

// asError returns err as an Error, made up if it is none; nil for nil.
func asError(err error) *pullchain.Error {
	if err == nil {
		return nil
	}
	if e, ok := errorsAs(err); ok {
		return e
	}
	reason := pullchain.ReasonOf(err)
	e := &pullchain.Error{Reason: reason, Err: err}
	if reason == pullchain.Canceled {
		e.Code = pullchain.CodeCanceled
	}
	return e
}
