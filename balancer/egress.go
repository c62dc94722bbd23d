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
	pause := min(time.Duration(e.fails)*egressPause, egressPauseMax)
	if err.Code == pullchain.CodeEgressAuth {
		pause = egressAuthPause
	}
	e.closure, e.failed = closure{now.Add(pause), err}, now
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
	e.closure, e.fails = closure{}, 0
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
