package balancer

import (
	"sync"
	"time"

	"github.com/pullchain/pullchain"
)

// An Egress is the gate that all lanes behind one proxy share: when the proxy
// is down or refuses our login, they are all skipped in one step, and no
// upstream is blamed for it (FAULTS.md F42, F43).
// It is safe for concurrent use.
type Egress struct {
	name string

	mu     sync.Mutex
	until  time.Time // shut before
	err    error     // why
	fails  int       // in a row
	failed time.Time // when it last failed
}

// How long a failed egress is left alone. A proxy that is down is tried again
// soon; one that refuses the login will go on refusing it until somebody
// changes the configuration, so it is only looked at now and then.
const (
	egressHold     = 10 * time.Second // times the failures in a row
	egressHoldMax  = 5 * time.Minute
	egressAuthHold = 5 * time.Minute
)

// NewEgress returns the open gate of the egress of that name.
func NewEgress(name string) *Egress { return &Egress{name: name} }

// fail shuts the gate because of err.
func (e *Egress) fail(err *pullchain.Error) {
	if e == nil {
		return
	}
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if now.Before(e.until) {
		return // requests that were under way: the same failure, not another
	}
	e.fails++
	hold := min(time.Duration(e.fails)*egressHold, egressHoldMax)
	if err.Code == pullchain.CodeEgressAuth {
		hold = egressAuthHold
	}
	e.until, e.err, e.failed = now.Add(hold), err, now
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
	e.until, e.err, e.fails = time.Time{}, nil, 0
}

// shut returns until when the gate is shut and why, or a nil error.
func (e *Egress) shut(now time.Time) (time.Time, error) {
	if e == nil {
		return time.Time{}, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !now.Before(e.until) {
		return time.Time{}, nil
	}
	return e.until, e.err
}
