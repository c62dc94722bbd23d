package fill

import "time"

// A pace is how fast the body at hand comes. It is guarded by the fill's mutex.
type pace struct {
	asked  time.Time     // when the request was made
	first  time.Time     // when its body brought the first byte
	since  time.Time     // since when it is waited for; zero while bytes are written
	waited time.Duration // for its body, after the first byte
	bytes  int64         // of its body

	// The last slowTime that was looked at, or a little more.
	sampled   int64     // bytes by its end
	sampledAt time.Time // its end; zero before there was an answer
	recent    float64   // bytes/s in it
	measured  bool      // there was one
}

// answered begins what is looked at: headers have come.
func (p *pace) answered(now time.Time) { p.sampledAt = now }

// sample measures the pace of late. It returns false as long as it is too new to tell.
func (p *pace) sample(now time.Time) bool {
	took := now.Sub(p.sampledAt)
	if !p.sampledAt.IsZero() && took >= slowTime {
		p.recent, p.measured = float64(p.bytes-p.sampled)/took.Seconds(), true
		p.sampled, p.sampledAt = p.bytes, now
	}
	return p.measured
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
