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

// paceWindow is what is looked at before a lane is left for being slow: a client that
// reads past the cache has no company beside it, and a change costs a round trip.
const paceWindow = 2 * time.Second

// add counts n bytes that took d, and reports whether a window has just ended, of which
// rate is known.
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
	return true
}

// A slowLane is a lane that a stream has left for its pace.
type slowLane struct {
	lane *Lane // nil: none
	rate float64
	n    int // how many have been left
}

// judge tells the lane how the one that came after it has fared with req, as p has it.
func (s *slowLane) judge(req pullchain.Request, p *pace) {
	if s.lane == nil || p.bytes < rateSample {
		return
	}
	outrun(s.lane, req, float64(p.bytes) >= slowRatio*s.rate*p.waited.Seconds())
	s.lane = nil
}
