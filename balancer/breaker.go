package balancer

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/pullchain/pullchain"
)

// The breaker's window: thirty seconds, forgotten three at a time.
const (
	breakerWindow = 30 * time.Second
	breakerBucket = 3 * time.Second
)

// trialSuccesses is how many trials in a row close a half-open breaker.
const trialSuccesses = 3

// errExcluded is an outcome that says nothing of the upstream's health.
var errExcluded = errors.New("excluded")

// A breaker is gobreaker's for one class of one lane, with what that has not:
// a trip threshold that depends on the failure, and an open time that grows
// with the trips.
type breaker struct {
	cfg  BreakerConfig
	cb   *gobreaker.TwoStepCircuitBreaker[struct{}]
	tell func(tripped bool) // called when it trips and when it closes; must not use cb

	threshold atomic.Uint32 // failures in a row that trip it, by the failure being counted
	graver    atomic.Bool   // the failure being counted speaks of the whole upstream
	trial     atomic.Bool   // a half-open trial is under way

	mu     sync.Mutex // never held while calling cb, which calls back under its own
	until  time.Time  // open before, whatever cb says
	since  time.Time  // of the state it is in
	level  int        // how many times open: the open time is multiplied by it
	trips  []time.Time
	wide   bool  // tripped by a failure of the upstream's host: all classes are shut
	cause  error // the failure that tripped it
	latest error // the failure being counted
}

func newBreaker(name string, cfg BreakerConfig, tell func(tripped bool)) *breaker {
	b := &breaker{cfg: cfg.withDefaults(), tell: tell}
	b.threshold.Store(uint32(b.cfg.Failures))
	b.cb = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:          name,
		MaxRequests:   trialSuccesses,
		Interval:      breakerWindow,
		BucketPeriod:  breakerBucket,
		Timeout:       b.cfg.Open,
		ReadyToTrip:   b.readyToTrip,
		OnStateChange: b.changed,
		IsExcluded:    func(err error) bool { return errors.Is(err, errExcluded) },
	})
	return b
}

func (b *breaker) readyToTrip(c gobreaker.Counts) bool {
	if c.ConsecutiveFailures >= b.threshold.Load() {
		return true
	}
	outcomes := c.TotalSuccesses + c.TotalFailures // Requests has those under way and those excluded
	return outcomes >= uint32(b.cfg.MinRequests) && float64(c.TotalFailures) >= b.cfg.Ratio*float64(outcomes)
}

// changed is called by cb under its mutex, so it must not ask cb anything.
func (b *breaker) changed(_ string, _, to gobreaker.State) {
	b.enter(to, time.Now())
	if to != gobreaker.StateHalfOpen {
		b.tell(to == gobreaker.StateOpen)
	}
}

func (b *breaker) enter(to gobreaker.State, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch to {
	case gobreaker.StateOpen:
		healthy := 0
		if b.level > 0 && !b.until.IsZero() && now.After(b.until) {
			healthy = int(now.Sub(b.until) / time.Minute) // a step down for each healthy minute (F39)
		}
		b.level = max(b.level-healthy, 0) + 1
		b.until = now.Add(b.openFor(b.level))
		b.trips = append(recent(b.trips, now.Add(-flapWindow)), now)
		b.wide, b.cause = b.graver.Load(), b.latest
	case gobreaker.StateClosed:
		b.wide, b.cause = false, nil
	}
	b.since = now
}

// openFor is how long the breaker stays open: longer with each trip, and at its
// longest for a certificate, which nobody renews within seconds (FAULTS.md F04).
func (b *breaker) openFor(level int) time.Duration {
	if pullchain.CodeOf(b.latest) == pullchain.CodeTLSCert {
		return b.cfg.OpenMax
	}
	return min(time.Duration(level)*b.cfg.Open, b.cfg.OpenMax)
}

// Three trips in ten minutes are flapping (FAULTS.md F39).
const (
	flapWindow = 10 * time.Minute
	flapTrips  = 3
)

func recent(times []time.Time, since time.Time) []time.Time {
	for len(times) > 0 && times[0].Before(since) {
		times = times[1:]
	}
	return times
}

// breakerState is what a breaker would say to a request now.
type breakerState struct {
	word     string // closed, open, half_open
	until    time.Time
	wide     bool
	cause    error
	flapping bool
	trips    int
	since    time.Time
}

const (
	closed   = "closed"
	open     = "open"
	halfOpen = "half_open"
)

func (b *breaker) state(now time.Time) breakerState {
	cb := b.cb.State()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trips = recent(b.trips, now.Add(-flapWindow))
	s := breakerState{word: closed, until: b.until, wide: b.wide, cause: b.cause, since: b.since,
		trips: len(b.trips), flapping: len(b.trips) >= flapTrips}
	switch {
	case cb == gobreaker.StateOpen, cb == gobreaker.StateHalfOpen && now.Before(b.until):
		s.word = open
	case cb == gobreaker.StateHalfOpen:
		s.word = halfOpen
	default:
		s.until = time.Time{}
	}
	return s
}

// begin asks to send one request. The outcome must be told to end, once.
// Half-open, only one trial runs at a time.
func (b *breaker) begin(now time.Time) (*breakerCall, bool) {
	s := b.state(now)
	if s.word == open {
		return nil, false
	}
	trial := s.word == halfOpen
	if trial && !b.trial.CompareAndSwap(false, true) {
		return nil, false
	}
	done, err := b.cb.Allow()
	if err != nil {
		if trial {
			b.trial.Store(false)
		}
		return nil, false
	}
	return &breakerCall{b: b, began: now, done: done, trial: trial}, true
}

// A breakerCall is one request that a breaker let through; it must be ended
// once. A nil breakerCall is one that went past it, and counts for nothing.
type breakerCall struct {
	b     *breaker
	began time.Time
	done  func(error)
	trial bool
}

func (c *breakerCall) end(err error) {
	if c == nil {
		return
	}
	result := outcome(err)
	if isFailure(result) {
		c.b.judge(err)
		if !c.trial && time.Since(c.began) > breakerBucket {
			// cb books an outcome where its request began, which for a body that
			// is cut late is outside the window: it would never count.
			c.done(errExcluded)
			if done, err := c.b.cb.Allow(); err == nil {
				done(result)
			}
			return
		}
	}
	c.done(result)
	if c.trial {
		c.b.trial.Store(false)
	}
}

func isFailure(result error) bool { return result != nil && !errors.Is(result, errExcluded) }

// judge sets what readyToTrip and changed go by, for the failure at hand.
func (b *breaker) judge(err error) {
	e, ok := errors.AsType[*pullchain.Error](err)
	if !ok {
		return
	}
	threshold := b.cfg.Failures
	if n := grave(e); n > 0 {
		threshold = min(threshold, n)
	}
	b.threshold.Store(uint32(threshold))
	b.graver.Store(e.Scope == pullchain.ScopeUpstream)
	b.mu.Lock()
	b.latest = err
	b.mu.Unlock()
}

// outcome is err in gobreaker's terms: an answer is a success even if it is
// "no", and what is not the upstream's fault is not counted at all.
func outcome(err error) error {
	if err == nil {
		return nil
	}
	switch reason := pullchain.ReasonOf(err); {
	case reason == pullchain.NotFound || reason == pullchain.Denied:
		return nil
	case reason.Blame() == pullchain.BlameBreaker:
		return err
	}
	return errExcluded
}

// grave says after how many failures of e's kind in a row an upstream is given
// up (FAULTS.md F02, F04, F12, F13).
func grave(e *pullchain.Error) int {
	switch {
	case e.Code == pullchain.CodeTLSCert:
		return 1 // a certificate does not get better by asking again
	case e.Code == pullchain.CodeConnTimeout || e.Code == pullchain.CodeTLSHandshake:
		return 2
	case e.Code == pullchain.CodeOriginDown:
		switch e.Status {
		case 521, 522, 523, 525, 526:
			return 2
		}
		return 3
	case e.Status == 502 || e.Status == 503 || e.Status == 504:
		return 3
	case e.Code == pullchain.CodeConnRefused || e.Code == pullchain.CodeDNS || e.Code == pullchain.CodeStall:
		return 3
	}
	return 0 // as configured
}
