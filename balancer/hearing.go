package balancer

import (
	"sync/atomic"
	"time"
)

// A hearing is when a lane was heard of, while requests and probes wait for it. No gate
// hangs on it: that an answer is late is no failure. It is for telling people that nothing
// answers before the first dial has given up. It is safe for concurrent use.
type hearing struct {
	asked queue        // requests and probes that were sent and have no answer
	heard atomic.Int64 // the last sign of life, an answer or bytes of one, in Unix nanoseconds; 0 before the first
}

// ask takes note of a request or a probe. Its sender calls over.
func (h *hearing) ask() { h.asked.enter() }

// over takes note that it has been answered, or why it was not.
func (h *hearing) over(err error) {
	if e, ok := errorsAs(err); err == nil || ok && e.Status != 0 {
		h.hear(time.Now())
	}
	h.asked.leave()
}

// hear takes note of a sign of life.
func (h *hearing) hear(now time.Time) { h.heard.Store(now.UnixNano()) }

// silentSince is how long what waits has heard nothing; zero if nothing waits.
func (h *hearing) silentSince() time.Time {
	if h.asked.n.Load() == 0 {
		return time.Time{}
	}
	now := time.Now()
	return time.Unix(0, max(h.asked.began(now), h.last(now)))
}

// last is the last sign of life in Unix nanoseconds; 0 before the first, and for one of a
// time to come, which a clock that has been set back leaves behind.
func (h *hearing) last(now time.Time) int64 {
	if at := h.heard.Load(); at <= now.UnixNano() {
		return at
	}
	return 0
}

// lastHeard is the last sign of life as a time; zero where there is none.
func (h *hearing) lastHeard() time.Time {
	if at := h.last(time.Now()); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// FallenSilent reports whether requests or probes of l have waited for d, nothing
// was heard of the upstream meanwhile, and no probe had failed before. It is no failure yet,
// and closes no gate.
func FallenSilent(l *Lane, d time.Duration) bool {
	since, v := l.load.hearing.silentSince(), l.view()
	return !since.IsZero() && time.Since(since) >= d && !v.falling()
}
