package balancer

import (
	"time"

	"github.com/pullchain/pullchain"
)

// past is what a lane remembers of its requests. It is guarded by its lane's
// mutex.
type past struct {
	lastError   error
	lastFailed  time.Time
	firstServed time.Time
	lastServed  [pullchain.NumClasses]time.Time
	lastPassed  time.Time // a probe
	renewed     time.Time // the prober asked for the quota
	asked       bool      // at least once

	// A probe has passed, or a request was answered. No gate asks for it: a lane of
	// which nothing is known is asked like any other, and people are told that it is a
	// hope. A lane outlives the reloads that do not change it, and this with it.
	proved bool
}

// served takes down that a request of class was answered at now.
func (p *past) served(class pullchain.Class, now time.Time) {
	if p.firstServed.IsZero() {
		p.firstServed = now
	}
	p.lastServed[class] = now
	p.proved = true
}

// lastOK returns when a request was answered or a probe passed last; zero if never.
func (p *past) lastOK() time.Time {
	if last := p.last(); last.After(p.lastPassed) {
		return last
	}
	return p.lastPassed
}

// last returns when a request was answered last; zero if none was.
func (p *past) last() time.Time {
	var last time.Time
	for _, t := range p.lastServed {
		if t.After(last) {
			last = t
		}
	}
	return last
}
