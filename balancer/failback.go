package balancer

import "time"

// A failbackHold keeps a lane that was in trouble behind those that were not,
// until it has proved itself: a minute without trouble, and three successes
// (docs/faults.md 7b.3). It does what a load balancer's slow start is for: a lane that
// has just come back does not get all the traffic at once, to fail again under
// it. It is guarded by its lane's mutex.
type failbackHold struct {
	troubled  bool
	since     time.Time // when the trouble ended; zero while it lasts
	successes int       // since then
}

const (
	failbackTime      = time.Minute
	failbackSuccesses = 3
)

func (h *failbackHold) trouble() { *h = failbackHold{troubled: true} }

// recovered says that the trouble has ended: the time to prove itself begins.
func (h *failbackHold) recovered(now time.Time) {
	view := h.view()
	*h = failbackHold{troubled: view.holds(now), since: now}
}

// success counts one. The first is also the end of a trouble whose end was not told,
// as that of a quarantine: time opens it, and no probe or breaker.
func (h *failbackHold) success(now time.Time) {
	if h.since.IsZero() {
		h.since = now
	}
	h.successes++
}

func (h *failbackHold) holds(now time.Time) bool {
	view := h.view()
	return view.holds(now)
}

// A failbackView is a failbackHold as a value that changes only with what it
// means: successes beyond those it takes do not show in it.
type failbackView struct {
	troubled bool
	until    time.Time // held before, if troubled; zero: it takes more successes
}

func (h *failbackHold) view() failbackView {
	v := failbackView{troubled: h.troubled}
	if h.troubled && !h.since.IsZero() && h.successes >= failbackSuccesses {
		v.until = h.since.Add(failbackTime)
	}
	return v
}

// holds reports whether the lane has yet to prove itself at now.
func (v *failbackView) holds(now time.Time) bool {
	return v.troubled && (v.until.IsZero() || now.Before(v.until))
}
