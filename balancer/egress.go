package balancer

import (
	"sync"
	"time"

	"github.com/pullchain/pullchain"
)

// An Egress is the gate that all lanes behind one proxy share: when the proxy
// is down or refuses our login, they are all skipped in one step, and no
// upstream is blamed for it (docs/faults.md F42, F43).
// It is safe for concurrent use. A nil Egress is no proxy, and always open.
type Egress struct {
	mu      sync.Mutex
	closure           // closed before, and why
	fails   int       // in a row
	failed  time.Time // when it last failed
	last    *pullchain.Error
	since   time.Time // it has failed, or gone well; zero before either
}

// How long a failed egress is left alone. A proxy that is down is tried again
// soon; one that refuses the login will go on refusing it until the
// configuration changes, so it is only looked at now and then.
const (
	egressPause     = 10 * time.Second // times the failures in a row
	egressPauseMax  = 5 * time.Minute
	egressAuthPause = 5 * time.Minute
)

// NewEgress returns the open gate of an egress.
func NewEgress() *Egress { return &Egress{} }

// fail closes the gate because of err.
func (e *Egress) fail(err *pullchain.Error) {
	if e == nil {
		return
	}
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.at(now) {
		return // requests that were under way: the same failure, not another
	}
	e.fails++
	if e.fails == 1 {
		e.since = now
	}
	pause := min(time.Duration(e.fails)*egressPause, egressPauseMax)
	if err.Code == pullchain.CodeEgressAuth {
		pause = egressAuthPause
	}
	e.closure, e.failed, e.last = closure{now.Add(pause), err}, now, err
}

// ok opens the gate: something that was sent at the time sent went through. A
// body on an old tunnel says nothing of a proxy that has failed since.
func (e *Egress) ok(sent time.Time) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if sent.Before(e.failed) {
		return
	}
	if e.fails > 0 || e.since.IsZero() {
		e.since = time.Now()
	}
	e.closure, e.fails = closure{}, 0
}

// The state words of an egress.
const (
	EgressUp      = "up"
	EgressDown    = "down"    // what was sent last did not get through the proxy
	EgressUnknown = "unknown" // nothing has been sent yet
)

// An EgressSnapshot is an egress as it stands, as plain values. A zero time is null.
type EgressSnapshot struct {
	State     string         `json:"state"`
	Since     *time.Time     `json:"since"`      // it has been in this state
	Until     *time.Time     `json:"until"`      // when it is tried again for pulls, while it is down
	Code      pullchain.Code `json:"code"`       // why it is down
	LastError string         `json:"last_error"` // the last one, which may be over
	FailedAt  *time.Time     `json:"failed_at"`  // when that was
}

// Snapshot returns the egress as it stands. It is down from its first failure to the
// next success, also while its gate is open for another try.
func (e *Egress) Snapshot() EgressSnapshot {
	if e == nil {
		return EgressSnapshot{State: EgressUnknown}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s := EgressSnapshot{State: EgressUp, Since: stamp(e.since), FailedAt: stamp(e.failed)}
	if e.last != nil {
		s.LastError = e.last.Error()
	}
	switch {
	case e.fails > 0:
		s.State, s.Code, s.Until = EgressDown, e.last.Code, shown(e.until, time.Now())
	case e.since.IsZero():
		s.State = EgressUnknown
	}
	return s
}

// view returns how the gate stands.
func (e *Egress) view() closure {
	if e == nil {
		return closure{}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closure
}
