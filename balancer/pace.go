package balancer

import (
	"time"

	"github.com/pullchain/pullchain"
)

// pace measures how fast a lane sends, by the time spent waiting for it: a slow
// client does not make a lane slow (docs/faults.md F21).
type pace struct {
	bytes  int64
	waited time.Duration

	windowBytes int64
	window      time.Duration
	rate        float64 // of the last full window, bytes/s
	giveUp      bool
}

const (
	paceWindow = 20 * time.Second
	paceFloor  = 32 << 10 // bytes/s
	paceBetter = 4        // times as fast another lane must be to change over
)

// add counts n bytes that took d, and reports whether a window has just ended
// that was too slow.
func (p *pace) add(n int, d time.Duration) bool {
	p.bytes += int64(n)
	p.waited += d
	p.windowBytes += int64(n)
	p.window += d
	if p.window < paceWindow {
		return false
	}
	p.rate = float64(p.windowBytes) / p.window.Seconds()
	p.windowBytes, p.window = 0, 0
	return p.rate < paceFloor
}

// fasterThan reports whether another lane that may be asked for req is known to
// be much faster than rate. Where none is, slow is what there is: our own line may be
// the narrow place, and changing over would only cost a round trip.
func (b *Balancer) fasterThan(rate float64, than *Lane, req pullchain.Request) bool {
	now := time.Now()
	for _, l := range b.lanes {
		if l != than && l.ledger.throughput() > paceBetter*rate && l.closed(req, now) == nil {
			return true
		}
	}
	return false
}
