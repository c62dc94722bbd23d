package fill

import "time"

// A pace is how fast the body at hand comes. It is guarded by the fill's mutex.
type pace struct {
	asked  time.Time     // when the request was made
	first  time.Time     // when its body brought the first byte
	since  time.Time     // since when it is waited for; zero while bytes are written
	waited time.Duration // for its body, after the first byte
	bytes  int64         // of its body
}

// rate returns the pace in bytes/s; 0 if it is too new to tell.
func (p *pace) rate(now time.Time) float64 {
	since := now.Sub(p.first)
	if p.first.IsZero() || since < 100*time.Millisecond {
		return 0
	}
	return float64(p.bytes) / since.Seconds()
}

// waits reports whether the worker spends its time waiting for bytes. Where it does
// not, the disk or the processor is the narrow place.
func (p *pace) waits(now time.Time) bool {
	waited := p.waited
	if !p.since.IsZero() {
		waited += now.Sub(p.since)
	}
	return float64(waited) >= waitShare*float64(now.Sub(p.first))
}

// received counts n bytes from upstream, and the time that they took. It returns
// true for the first of a body.
func (p *pace) received(n int64, now time.Time) (first bool) {
	if first = p.first.IsZero(); first {
		p.first = now
	} else {
		p.waited += now.Sub(p.since)
	}
	p.since = time.Time{}
	p.bytes += n
	return first
}
