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
}

// A Lane is an upstream as the balancer sees it: with its breakers, its
// cooldowns, its probe verdict and the operator's wish. It is the unit of
// health; its state belongs to its identity in the configuration and never to
// an address. It is safe for concurrent use.
type Lane struct {
	up       Upstream
	cfg      LaneConfig
	breakers [pullchain.NumClasses]*breaker
	ledger   laneLedger
	forced   forcedTry
	inFlight atomic.Int64
	extra    atomic.Int64 // of those, hedges and parallel starts

	mu         sync.Mutex
	cooldowns  [pullchain.NumClasses]cooldown
	hold       hold // a short rest after a failure to connect
	quarantine quarantine
	verdict    verdict // of the prober
	wish       Wish
	vouched    time.Time // a forced try went well: gates that guess stand open until then
	ignores    bool      // it ignored or botched a Range
	restUntil  time.Time // it failed to help: none is asked of it until then
	evidence   evidence
	latch      latch
	lastError  error
	lastFailed time.Time
	lastServed [pullchain.NumClasses]time.Time
	lastAsked  time.Time
	word       string // the state as last shown, and since when
	wordSince  time.Time
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
	l := &Lane{up: up, cfg: cfg}
	for class := range l.breakers {
		l.breakers[class] = newBreaker(up.Name()+" "+pullchain.Class(class).String(), cfg.Breaker, l.breakerChanged)
	}
	return l
}

// Name returns the upstream's name.
func (l *Lane) Name() string { return l.up.Name() }

// A Wish is what the operator wants of a lane.
type Wish string

// The wishes. The empty Wish is to use the lane.
const (
	Drained  Wish = "drained"  // nothing new; what is in flight finishes
	Disabled Wish = "disabled" // no traffic and no probes
)

// SetWish makes w the operator's wish.
func (l *Lane) SetWish(w Wish) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wish = w
}

// SetVerdict tells the lane what its prober makes of it: whether it is up, and
// the error of the last probe, which may be nil.
func (l *Lane) SetVerdict(up bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.verdict.down
	l.verdict = verdict{known: true, down: !up, err: err, at: time.Now()}
	switch {
	case !up:
		l.latch.trouble()
	case was:
		l.latch.recovered(time.Now())
	}
}

// breakerChanged takes note that one of the lane's breakers has tripped or
// closed. It is called under the breaker's mutex: l.mu is never held while a
// breaker is asked anything.
func (l *Lane) breakerChanged(tripped bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if tripped {
		l.latch.trouble()
	} else {
		l.latch.recovered(time.Now())
	}
}

// verdict is what the prober makes of a lane. Until it is known, a lane is
// taken to be up.
type verdict struct {
	known, down bool
	err         error // of the last probe
	at          time.Time
}

// hold is the rest of a few moments that a lane gets when it could not be
// connected to, long before its breaker trips (FAULTS.md F01, F02).
type hold struct {
	since time.Time
	until time.Time
	cause error
}

// A refused connection costs nothing to find out, so it is held only so long
// that a burst does not run into it. A silent one costs whoever finds out a
// second.
const (
	holdRefused = 250 * time.Millisecond
	holdSilent  = 10 * time.Second
)

// A call is one request on its way through a lane.
type call struct {
	lane    *Lane
	req     pullchain.Request
	began   time.Time
	breaker *breakerCall
	token   *breakerCall // when the token server has to be asked first
	extra   bool
	once    sync.Once
}

// begin lets req through the lane's gates, or says which one is shut. A forced
// call goes past the gates that guess. Every call that began must end once.
func (l *Lane) begin(req pullchain.Request, force, extra bool) (*call, *shut) {
	now := time.Now()
	if s := l.shut(req, now); s != nil && !(force && s.guess()) {
		return nil, s
	}
	if n := l.inFlight.Add(1); req.Options.Speculative && n > int64(l.cfg.MaxConnections) {
		l.inFlight.Add(-1)
		return nil, &shut{lane: l, gate: gateFull, cause: errFull}
	}
	c := &call{lane: l, req: req, began: now, extra: extra}
	var ok bool
	if c.breaker, ok = l.breakers[req.Class()].begin(now); !ok && !force && !l.isVouched(now) {
		l.inFlight.Add(-1)
		return nil, l.trialShut(req.Class(), now)
	}
	if l.up.NeedsToken(req) {
		c.token, _ = l.breakers[pullchain.ClassToken].begin(now)
	}
	if extra {
		l.extra.Add(1)
	}
	l.mu.Lock()
	l.lastAsked = now
	l.mu.Unlock()
	return c, nil
}

// end reports how the call went: nil when everything that was read was right.
// Only the first report counts.
func (c *call) end(err error) {
	c.once.Do(func() {
		c.lane.inFlight.Add(-1)
		if c.extra {
			c.lane.extra.Add(-1)
		}
		e := asError(err)
		switch {
		case c.neverMind(e):
			c.token.end(errExcluded)
			c.breaker.end(errExcluded)
		case e != nil && e.Scope == pullchain.ScopeToken:
			c.token.end(err)
			c.breaker.end(errExcluded)
		default:
			c.token.end(tokenOutcome(err))
			c.breaker.end(err)
		}
		c.lane.ledger.count(c.req.Class(), e)
		c.lane.note(c, e)
	})
}

// tokenOutcome is what a call that did not fail for its token says of the token
// server: that it works, if the call got as far as an answer.
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
