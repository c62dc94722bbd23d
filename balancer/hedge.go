package balancer

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pullchain/pullchain"
)

var errSilent = errors.New("no connection in time")

// hedgeDelay is how long this lane may take for a manifest before it is hedged: longer
// than nineteen of its last twenty took, for else it is not slow, and at least what
// the operator's patience says, so that a lane which is always fast is not hedged for
// a hiccup.
func (l *Lane) hedgeDelay() time.Duration {
	return max(l.cfg.Patience.Manifest, l.ledger.percentile(pullchain.ClassManifest, 0.95))
}

// Limits on load that is not owed to a request of its own: hedges may be three
// in a hundred requests of a chain, and a fifth of what a lane has in flight
// (docs/faults.md 9). A few are always allowed.
const (
	hedgeShare = 0.03
	extraShare = 0.2
	extraMin   = 3
)

// A hedgeBudget keeps a chain's hedges to their share of its requests.
// It is safe for concurrent use.
type hedgeBudget struct {
	mu    sync.Mutex
	spent float64 // of the few that are always allowed
}

// earn adds what one request allows.
func (h *hedgeBudget) earn() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.spent = max(h.spent-hedgeShare, 0)
}

// spend takes one hedge from the budget, if it has one.
func (h *hedgeBudget) spend() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.spent+1 > extraMin {
		return false
	}
	h.spent++
	return true
}

// mayJoin reports whether next may be started beside a. Beside a speculative one
// none may: no client waits for it. Beside one without a connection, or that has
// had its share of the time, it always may: that is failover. Beside a slow one it
// is a hedge, which costs the next lane a request that may not be needed, so not
// where requests cost money or the last of a quota (Dean and Barroso, The Tail at
// Scale, 2013: hedge beyond the 95th percentile, and a few per cent of requests), unless
// a client has waited for a second more (docs/faults.md F53).
func (r *race) mayJoin(a *attempt, next *Lane) bool {
	if !slices.Contains(r.running, a) || r.req.Options.Speculative {
		return false
	}
	if late, _ := a.watch.late(); late || time.Since(a.start) >= share(r.req) {
		return true
	}
	if a.admission.req.Class() != pullchain.ClassManifest || next.cfg.Metered || !next.load.mayTakeExtra() {
		return false
	}
	if counted(r.req) && next.up.Facts().Quota.Low() {
		return false
	}
	late := len(r.running) == 1 && time.Since(a.start) >= a.hedgeAfter+slowManifest
	return late || r.b.hedges.spend()
}

// mayTakeExtra reports whether one more request may be added that no client waits
// for alone.
func (l *load) mayTakeExtra() bool {
	return float64(l.extra.Load()) < max(extraMin, extraShare*float64(l.inFlight.Load()))
}
