package cache

import (
	"time"
)

// near reports whether w will be at p soon.
func (w *worker) near(p int64) bool {
	rate := w.rateLocked(time.Now())
	if rate <= 0 {
		return p-w.pos <= nearBytes
	}
	return float64(p-w.pos) <= max(rate*nearTime.Seconds(), 2*minPiece)
}

// rateLocked returns the pace of the body at hand in bytes/s; 0 if it is too new
// to tell.
func (w *worker) rateLocked(now time.Time) float64 {
	since := now.Sub(w.first)
	if w.first.IsZero() || since < 100*time.Millisecond {
		return 0
	}
	return float64(w.bytes) / since.Seconds()
}

// receivedLocked counts n bytes from upstream, and the time that they took.
func (w *worker) receivedLocked(n int64) {
	now := time.Now()
	if w.first.IsZero() {
		w.first = now
		w.f.growth.answeredLocked(now.Sub(w.asked))
	} else {
		w.waited += now.Sub(w.since)
	}
	w.since = time.Time{}
	w.bytes += n
	w.f.growth.bytes += n
	w.f.s.counts.bytes.Add(n)
}

// waitsLocked reports whether w spends its time waiting for bytes. Where it does
// not, the disk or the processor is the narrow place.
func (w *worker) waitsLocked(now time.Time) bool {
	waited := w.waited
	if !w.since.IsZero() {
		waited += now.Sub(w.since)
	}
	return float64(waited) >= waitShare*float64(now.Sub(w.first))
}
