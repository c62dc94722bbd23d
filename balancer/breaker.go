package balancer

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/lapse"
)

// The breaker's window: thirty seconds, forgotten three at a time (docs/faults.md 9). A
// window that is forgotten at once would, just after, let a failing upstream through
// until it has failed as often again.
const (
	breakerWindow = 30 * time.Second
	breakerBucket = 3 * time.Second
)

// trialSuccesses is how many trials in a row close a half-open breaker. gobreaker
// would also let as many through at once (MaxRequests); one at a time is enough to
// learn, and what is learnt by a user's pull costs the user (docs/faults.md F41).
const trialSuccesses = 3

// errExcluded is an outcome that says nothing of the upstream's health: the client
// went away, or another gate takes the blame. To count it as a success would close a
// half-open breaker that has proved nothing.
var errExcluded = errors.New("excluded")

// A breaker is gobreaker's for one class of one lane, with what that has not:
// a trip threshold that depends on the failure, and an open time that grows
// with the trips.
//
// Two locks are involved. gobreaker calls IsExcluded, IsSuccessful, ReadyToTrip
// and OnStateChange for one outcome under its own mutex, one after the other
// (gobreaker v2, afterRequest). So what IsSuccessful has found out of a failure
// is still that failure's when ReadyToTrip and OnStateChange look at it, however
// many requests fail at once. mu guards what requests ask of the breaker; it is
// taken inside gobreaker's mutex, and so never held while calling gobreaker.
type breaker struct {
	cfg    BreakerConfig
	name   string
	notify func(tripped bool) // called when it trips and when it closes; must not use gobreaker
	count  atomic.Pointer[counter]
	trial  atomic.Bool // a half-open trial is under way

	mu      sync.Mutex
	trip    trip
	failing map[subject]time.Time // when each failed last
}

// A counter is gobreaker's part of a breaker: it is replaced where the breaker is
// reset, which gobreaker cannot be.
type counter struct {
	b       *breaker
	cb      *gobreaker.TwoStepCircuitBreaker[struct{}]
	failure failure // being counted; guarded by cb's mutex
}

// A failure is what a breaker goes by when it counts one.
type failure struct {
	err       *pullchain.Error
	threshold uint32 // so many in a row trip the breaker
}

// A trip is how a breaker stands, and what its trips so far have taught.
type trip struct {
	tripped bool
	until   time.Time        // open before, whatever gobreaker says
	wide    bool             // by a failure of the upstream's host: all classes are closed
	cause   *pullchain.Error // the failure that tripped it
	level   int              // how many times open: the open time is multiplied by it
	times   []time.Time      // of the trips within flapWindow
}

func newBreaker(name string, cfg BreakerConfig, notify func(tripped bool)) *breaker {
	b := &breaker{cfg: cfg.withDefaults(), name: name, notify: notify}
	b.count.Store(b.newCounter())
	return b
}

func (b *breaker) newCounter() *counter {
	c := &counter{b: b}
	c.cb = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:          b.name,
		MaxRequests:   trialSuccesses,
		Interval:      breakerWindow,
		BucketPeriod:  breakerBucket,
		Timeout:       min(b.cfg.Open, b.cfg.OpenMax),
		ReadyToTrip:   c.readyToTrip,
		OnStateChange: c.changed,
		IsExcluded:    func(err error) bool { return errors.Is(err, errExcluded) },
		IsSuccessful:  c.judge,
	})
	return c
}

// reset closes the breaker and forgets all that it has counted. What is under way
// counts for nothing any more.
func (b *breaker) reset() {
	b.count.Store(b.newCounter())
	b.trial.Store(false)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trip, b.failing = trip{}, nil
}

// judge reports whether err is a success, and if it is none takes down what the
// next calls of gobreaker go by. It must not ask gobreaker anything.
func (c *counter) judge(err error) bool {
	if err == nil {
		return true
	}
	e := asError(err)
	failures := c.b.cfg.Failures
	if n := failureThreshold(e); n > 0 { // what the operator has set lower stays lower
		failures = min(failures, n)
	}
	c.failure = failure{err: e, threshold: uint32(failures)}
	return false
}

// readyToTrip is called by cb for the failure that judge has just taken down. In a
// row catches an upstream that is gone; the ratio one that fails for some of what is
// asked, whose successes in between would hide it.
func (c *counter) readyToTrip(n gobreaker.Counts) bool {
	if n.ConsecutiveFailures >= c.failure.threshold {
		return true
	}
	outcomes := n.TotalSuccesses + n.TotalFailures // Requests has those under way and those excluded
	return outcomes >= uint32(c.b.cfg.MinRequests) && float64(n.TotalFailures) >= c.b.cfg.Ratio*float64(outcomes)
}

// changed is called by cb under its mutex, so it must not ask gobreaker anything.
func (c *counter) changed(_ string, _, to gobreaker.State) {
	b := c.b
	if b.count.Load() != c { // it has been reset since
		return
	}
	switch to {
	case gobreaker.StateOpen:
		b.opened(c.failure.err, time.Now())
	case gobreaker.StateClosed:
		b.mu.Lock()
		b.trip.tripped, b.trip.wide, b.trip.cause = false, false, nil
		b.mu.Unlock()
	default: // half-open: when that is follows from until alone
		return
	}
	b.notify(to == gobreaker.StateOpen)
}

// opened takes down a trip. The open time is our own, longer than gobreaker's, which
// is fixed and cannot be asked for (gobreaker v2, Settings.Timeout): gobreaker turns
// half-open under it, and is asked only when it is over.
func (b *breaker) opened(cause *pullchain.Error, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := &b.trip
	healthy := 0
	if t.level > 0 && now.After(t.until) {
		healthy = int(now.Sub(t.until) / time.Minute) // a step down for each healthy minute (F39)
	}
	t.level = max(t.level-healthy, 0) + 1
	t.tripped, t.until = true, now.Add(b.openFor(t.level, cause))
	t.wide, t.cause = cause.Reach == pullchain.ReachLane, cause
	t.times = append(recent(t.times, now.Add(-flapWindow)), now)
}

// openFor is how long the breaker stays open: longer with each trip, and at its
// longest for a certificate, which is not renewed within seconds (docs/faults.md F04).
func (b *breaker) openFor(level int, cause *pullchain.Error) time.Duration {
	if cause.Code == pullchain.CodeTLSCert {
		return b.cfg.OpenMax
	}
	return min(time.Duration(level)*b.cfg.Open, b.cfg.OpenMax)
}

// Three trips in ten minutes are flapping (docs/faults.md F39). It closes no gate: the
// open time grows with the trips anyway. It is for people to see.
const (
	flapWindow = 10 * time.Minute
	flapTrips  = 3
)

// recent returns the times that are not before since. times is in order.
func recent(times []time.Time, since time.Time) []time.Time {
	for len(times) > 0 && times[0].Before(since) {
		times = times[1:]
	}
	return times
}

// A breakerView is how a breaker stands, as a value that can be compared, and
// asked about any moment until something happens to the breaker.
type breakerView struct {
	tripped  bool
	until    time.Time // open before; half-open from then on
	wide     bool
	cause    *pullchain.Error
	flapping time.Time // it is, before
}

const (
	breakerClosed   = "closed"
	breakerOpen     = "open"
	breakerHalfOpen = "half_open"
)

func (b *breaker) view() breakerView {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := breakerView{tripped: b.trip.tripped, wide: b.trip.wide, cause: b.trip.cause}
	if v.tripped {
		v.until = b.trip.until
	}
	if n := len(b.trip.times); n >= flapTrips {
		v.flapping = b.trip.times[n-flapTrips].Add(flapWindow)
	}
	return v
}

// word is the breaker's state at now. Mind the field's words: a breaker that is
// open lets no request through, and so is a gate that is closed.
func (v *breakerView) word(now time.Time) string {
	switch {
	case !v.tripped:
		return breakerClosed
	case !lapse.Over(v.until, now):
		return breakerOpen
	}
	return breakerHalfOpen
}

// quickFailure is up to how long a failure takes that counts once for a whole repository:
// to find it out anew costs each request little. A client may ask for a hundred tags of
// one name that the server does not bear, and decides nothing for others (docs/faults.md
// F55). What takes longer, as a stall or a gateway's time-out does, counts for each tag or
// digest.
const quickFailure = time.Second

// culprit returns what a failure of p's request counts for, once in the window; the zero
// subject is each time it happens. That a host cannot be reached, each request finds out
// anew; what a server says of a name, or how it fails over it, may be that name's fault.
func (p *breakerPermit) culprit(e *pullchain.Error, now time.Time) subject {
	reached := e.Status >= 500 || e.Reach != pullchain.ReachLane
	switch {
	case reached && now.Sub(p.began) <= quickFailure:
		return subject{repo: p.about.repo}
	case e.Reach == pullchain.ReachLane || e.Reach == pullchain.ReachToken:
		return subject{}
	}
	return p.about
}

// repeated reports whether this culprit has failed within the window already: one image
// that draws a 500 again and again says nothing of the others.
func (b *breaker) repeated(about subject, now time.Time) bool {
	if about == (subject{}) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for other, at := range b.failing {
		if now.Sub(at) > breakerWindow {
			delete(b.failing, other)
		}
	}
	_, again := b.failing[about]
	if b.failing == nil {
		b.failing = make(map[subject]time.Time)
	}
	if len(b.failing) < subjectsKept || again {
		b.failing[about] = now
	}
	return again
}

// recentTrips is how often the breaker tripped within flapWindow before now.
func (b *breaker) recentTrips(now time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trip.times = recent(b.trip.times, now.Add(-flapWindow))
	return len(b.trip.times)
}

// counts returns what the window holds. gobreaker forgets what is older when it is asked
// for its state, and not when it is asked for its counts.
func (b *breaker) counts() gobreaker.Counts {
	b.count.Load().cb.State()
	return b.count.Load().cb.Counts()
}

// allow asks to send one request. The permit must be ended, once. Half-open,
// only one trial runs at a time.
// about is what the request is about.
func (b *breaker) allow(now time.Time, about subject) (*breakerPermit, bool) {
	v := b.view()
	word := v.word(now)
	if word == breakerOpen {
		return nil, false
	}
	trial := word == breakerHalfOpen
	if trial && !b.trial.CompareAndSwap(false, true) {
		return nil, false
	}
	done, err := b.count.Load().cb.Allow()
	if err != nil {
		if trial {
			b.trial.Store(false)
		}
		return nil, false
	}
	return &breakerPermit{b: b, about: about, began: now, done: done, trial: trial}, true
}

// A breakerPermit is one request that a breaker let through; it must be ended
// once. A nil breakerPermit is one that went past it, and counts for nothing.
type breakerPermit struct {
	b     *breaker
	about subject
	began time.Time
	done  func(error)
	trial bool
}

// end reports the outcome. gobreaker drops that of a request which began before the
// last change of state, so a body of ten minutes says nothing of the breaker's next
// life. A permit that is never ended would keep a breaker half-open for ever.
func (p *breakerPermit) end(err error) {
	if p == nil {
		return
	}
	result := outcome(err)
	failed := result != nil && !errors.Is(result, errExcluded)
	if now := time.Now(); failed && !p.trial && p.b.repeated(p.culprit(asError(err), now), now) {
		result, failed = errExcluded, false
	}
	if failed && !p.trial && time.Since(p.began) > breakerBucket {
		// cb books an outcome where its request began, which for a body that is
		// cut late is outside the window: it would never count.
		p.done(errExcluded)
		if done, err := p.b.count.Load().cb.Allow(); err == nil {
			done(result)
		}
		return
	}
	p.done(result)
	if p.trial {
		p.b.trial.Store(false)
	}
}
