package fill

import "time"

// Some CDNs give each connection little and the sum of several much more. What
// takes long is therefore fetched over more connections, on the same lane or on
// others, as long as the sum grows by it.
const (
	rampTick    = 50 * time.Millisecond
	rampFirst   = 300 * time.Millisecond // what is measured before the first look
	rampWindow  = 250 * time.Millisecond // and before each after that
	rampWorth   = time.Second            // more than this must be left to be worth a connection
	rampShare   = 0.5                    // of what linear growth would have given
	rampBackoff = 5 * time.Second        // after the sum has stopped to grow; twice as long each time
	rampConnect = 2 * time.Second        // how long a new connection is waited for before the sum is measured

	// A connection that gives this many bytes/s is not being throttled, and one
	// that is waited for less than this share of the time is not what is slow.
	rampFast  = 8 << 20
	waitShare = 0.8

	// A worker that is done takes half of what another has still before it, if
	// that is worth this much of the other's time, and twice what an answer takes.
	stealWorth = 250 * time.Millisecond
)

// A rampUp is the search for the number of connections that a fill is worth.
type rampUp struct {
	bytes  int64     // received in all
	since  time.Time // the window that is measured, and what had been received by then
	base   int64
	rate   float64 // of the sum in bytes/s, before the last helpers; 0 if there were none
	before int     // how many workers gave it
	others bool    // lanes that are not in use are asked for helpers
	best   int     // more workers than these were not worth it; 0: not known
	pause  time.Duration
	until  time.Time     // no helpers before
	delay  time.Duration // how long an answer takes to its first byte, lately
}

// answered notes how long an answer took.
func (g *rampUp) answered(took time.Duration) {
	if g.delay == 0 {
		g.delay = took
	}
	g.delay = (g.delay + took) / 2
}

// speedUp adds helpers until the fill ends.
func (f *fill) speedUp() {
	tick := time.NewTicker(rampTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-f.ctx.Done():
			return
		}
		evicted, over := f.speedUpNow(time.Now())
		suspend(evicted)
		if over {
			return
		}
	}
}

// speedUpNow takes one look at the sum. It returns true when the fill has ended.
func (f *fill) speedUpNow(now time.Time) (evicted []*fill, over bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.phase.final() {
		return nil, true
	}
	if p := &f.plan; !p.backoff.IsZero() && now.After(p.backoff) { // readers may ask again
		p.backoff = time.Time{}
		f.changes.notify()
	}
	evicted = f.abandonment.look(now)
	if len(f.readers) > 0 { // what no reader waits for is worth no more connections
		f.plan.accompany(now)
		f.plan.grow(now)
	}
	return evicted, false
}

// grow measures the sum, and adds as many workers as there are if the last ones
// were worth it.
func (p *plan) grow(now time.Time) {
	g := &p.rampUp
	flowing, connected := p.flowing(now)
	if !connected || flowing == 0 || !p.divides(now) {
		g.since, g.base = now, g.bytes
		return
	}
	window := rampWindow
	if g.rate == 0 {
		window = rampFirst
	}
	took := now.Sub(g.since)
	if took < window || g.bytes == g.base {
		return
	}
	rate := float64(g.bytes-g.base) / took.Seconds()
	g.since, g.base = now, g.bytes
	if left := float64(p.f.copy.missing()) / rate; left <= rampWorth.Seconds() || now.Before(g.until) {
		return
	}
	switch {
	case g.rate == 0:
	case g.paid(rate, flowing):
		g.best = 0
	case !g.others:
		g.others, g.best = true, g.before
	default:
		g.pause = max(2*g.pause, rampBackoff)
		g.rate, g.others, g.until = 0, false, now.Add(g.pause)
		return
	}
	g.rate, g.before = rate, flowing
	p.help(flowing)
}

// paid reports whether the last helpers have brought a good part of what linear
// growth would have.
func (g *rampUp) paid(rate float64, flowing int) bool {
	if flowing <= g.before {
		return false
	}
	linear := g.rate * float64(flowing) / float64(g.before)
	return rate >= g.rate+rampShare*(linear-g.rate)
}

// flowing counts the workers whose bytes flow. They are not connected while one of
// the others has just asked.
func (p *plan) flowing(now time.Time) (n int, connected bool) {
	for _, w := range p.workers {
		if w.company.of != nil {
			continue
		}
		if !w.first.IsZero() {
			n++
		} else if now.Sub(w.asked) < rampConnect {
			return n, false
		}
	}
	return n, true
}

// divides reports whether the blob may be fetched in more parts at once, now.
func (p *plan) divides(now time.Time) bool {
	return p.f.phase == running && p.f.copy.divisible() && !now.Before(p.backoff)
}

// help starts up to n helpers: for what no worker has claimed, as after a restart, or
// else for a half of what one has before it.
func (p *plan) help(n int) {
	var inUse []string
	if p.rampUp.others {
		for _, w := range p.workers {
			inUse = append(inUse, w.source)
		}
	}
	for range min(n, maxHelped-len(p.workers)) {
		w := p.newWorker()
		w.others = inUse
		if from, to, ok := p.unclaimed(); ok && p.goesOn() {
			p.assign(w, from, to)
			w.helper = true
		} else if !p.steal(w, 2*rampWorth) {
			w.cancel()
			return
		}
		p.f.fills.counts.helpers.Add(1)
		p.launch(w)
	}
}

// steal gives w the upper half of the most that another worker still has before
// it, if that is worth more than so much of the other's time. The upper half, because
// the victim goes on where it is without noticing; half, because nothing is known yet
// of how fast the new connection will be.
func (p *plan) steal(w *worker, worth time.Duration) bool {
	now := time.Now()
	if !p.divides(now) {
		return false
	}
	var victim *worker
	for _, other := range p.workers {
		if other == w || other.serial || other.company.of != nil || victim != nil && other.end-other.pos <= victim.end-victim.pos {
			continue
		}
		if other.end-other.pos >= 2*minPiece && other.slow(now, worth) {
			victim = other
		}
	}
	if victim == nil {
		return false
	}
	middle := max(victim.pos+(victim.end-victim.pos)/2, victim.firm)
	if victim.end-middle < minPiece {
		return false
	}
	w.take(middle, victim.end)
	w.helper = true
	victim.end = middle
	return true
}

// slow reports whether another connection may bring a part of what is before w
// sooner, and that is worth so much of its time.
func (w *worker) slow(now time.Time, worth time.Duration) bool {
	if w.first.IsZero() {
		return now.Sub(w.asked) >= rampWorth
	}
	rate := w.rate(now)
	if rate == 0 || rate >= rampFast || !w.waits(now) {
		return false
	}
	return float64(w.end-w.pos) >= rate*worth.Seconds()
}
