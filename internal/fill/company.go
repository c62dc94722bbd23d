package fill

import (
	"slices"
	"time"
)

// A worker whose upstream sends much less than others would gets company while a reader
// waits for it (docs/faults.md F53): another upstream, or the same one where there is no
// other, is asked for the same bytes from there on. Both go on; where the other gets ahead, what is left of the claim is its own
// from that byte on. So a pause of the first costs nothing but a request.
const (
	// slowTime is over what a worker's pace is measured.
	slowTime = time.Second

	// companyTime is how long company may take to get ahead; companyPause is until there
	// is company again where it has not, twice as long each time.
	companyTime  = 3 * time.Second
	companyPause = 5 * time.Second

	// aheadBy is how many times as fast company must have been, since it was asked, to take
	// over: reads of two upstreams that are alike overtake each other by chance.
	aheadBy = 1.25

	// outrunRatio is how many times as fast company must have been for the upstream to
	// be asked after others.
	outrunRatio = 4
)

// A company is what a worker has beside another one's, or what has come of it. It is
// guarded by the fill's mutex.
type company struct {
	of    *worker   // whose bytes it brings too; nil for other workers, and once it is ahead
	asked time.Time // when that worker made the request for them
	lane  string    // the upstream that it asked
	rate  float64   // its pace in bytes/s
	late  bool      // it has not got ahead in time

	urgent bool // a client's request, and none that only makes it faster
}

// companions are what is known of a fill's company as a whole.
type companions struct {
	until time.Time // none before
	pause time.Duration
}

// accompany gives company to a worker that a reader waits for in vain, and ends what has
// not got ahead in time.
func (p *plan) accompany(now time.Time) {
	slow := p.slowest(now)
	if slow == nil || now.Before(p.companions.until) || !p.divides(now) {
		return
	}
	reg := p.f.reg
	if reg.TooSlow == nil {
		return
	}
	isSlow, crawls := reg.TooSlow(slow.lane, p.f.req, p.paceOf(slow))
	if !isSlow {
		return
	}
	g := &p.companions
	g.pause = max(2*g.pause, companyPause)
	g.until = now.Add(companyTime + g.pause)
	w := p.newWorker()
	w.take(slow.pos, slow.end)
	w.helper, w.others = true, []string{slow.lane}
	w.company = company{of: slow, asked: slow.asked, lane: slow.lane, rate: slow.recent, urgent: crawls}
	p.f.fills.counts.company.Add(1)
	p.launch(w)
}

// slowest measures the workers, and returns one that a reader waits for and whose pace is
// known; nil if there is company already.
func (p *plan) slowest(now time.Time) (slow *worker) {
	accompanied := false
	for _, w := range p.workers {
		measured := w.sample(now)
		if w.company.of != nil {
			accompanied = true
			if now.Sub(w.asked) > companyTime {
				w.company.late = true
				w.cancel()
			}
			continue
		}
		if measured && !w.since.IsZero() && p.awaited(w) && (slow == nil || w.recent < slow.recent) {
			slow = w
		}
	}
	if accompanied {
		return nil
	}
	return slow
}

// paceOf is what counts as w's pace: that of all connections, where it is one of several
// that are alike, as of a CDN that gives little to each.
func (p *plan) paceOf(w *worker) float64 {
	sum, n := 0.0, 0
	for _, other := range p.workers {
		if other.lane == w.lane && other.company.of == nil && other.measured {
			sum, n = sum+other.recent, n+1
		}
	}
	if 2*w.recent*float64(n) >= sum {
		return sum
	}
	return w.recent
}

// awaited reports whether a reader waits for the next byte of w.
func (p *plan) awaited(w *worker) bool {
	for r := range p.f.readers {
		if r.waiting || r.copy == nil { // or waits for an answer, which waits for the bytes
			if at := p.f.copy.have.reach(r.at); w.done <= at && at < w.end {
				return true
			}
		}
	}
	return false
}

// reserveBeside is reserve for company: its bytes up to pos are not its own as long as it
// is behind. Where the other worker is gone, or elsewhere, or has lost what comes now to a
// third, it brings what is free.
func (w *worker) reserveBeside(pending []run, off int64) []run {
	slow := w.company.of
	if !slow.asked.Equal(w.company.asked) || slow.pos >= slow.end || off >= slow.end || !slices.Contains(w.f.plan.workers, slow) {
		w.company, w.serial, w.helper = company{}, true, false
		return w.missingLocked(pending, off)
	}
	w.done = w.pos
	if w.pos <= slow.pos || float64(w.pace.bytes) <= aheadBy*slow.recent*time.Since(w.asked).Seconds() {
		return pending
	}
	from := max(off, slow.pos)
	w.end = min(w.end, slow.end)
	if slow.end = from; slow.pos >= from {
		slow.cancel()
	}
	w.company.of, w.helper = nil, false
	w.f.plan.companions = companions{} // it was worth it: the others of that upstream are next
	if w.pos > w.end {
		w.pos = w.end
		w.reach = min(w.reach, w.pos)
	}
	w.done = from
	if w.serial = slow.serial; w.serial { // the claim has holes that are there, or another's
		return w.missingLocked(pending, from)
	}
	return join(pending, from, w.pos)
}

// settle tells the chain how the company has fared, once its body is over.
func (w *worker) settle() {
	f := w.f
	f.mu.Lock()
	c, took, bytes, outrun := w.company, time.Since(w.first), w.pace.bytes, f.reg.Outrun
	w.company = company{}
	f.mu.Unlock()
	switch {
	case c.lane == "" || outrun == nil:
	case c.of == nil:
		faster := float64(bytes) >= outrunRatio*c.rate*took.Seconds()
		if !faster || w.lane != c.lane { // that another connection was faster is held against no upstream
			outrun(c.lane, f.req, faster)
		}
	case c.late:
		outrun(c.lane, f.req, false)
	}
}
