package cache

import "time"

// Some CDNs give each connection little and the sum of several much more. What
// takes long is therefore fetched over more connections, on the same lane or on
// others, as long as the sum grows by it.
const (
	growTick   = 50 * time.Millisecond
	growFirst  = 300 * time.Millisecond // what is measured before the first look
	growWindow = 250 * time.Millisecond // and before each after that
	growWorth  = time.Second            // more than this must be left to be worth a connection
	growShare  = 0.5                    // of what linear growth would have given
	growRest   = 5 * time.Second        // after the sum has stopped to grow; twice as long each time
	growSettle = 2 * time.Second        // how long a new connection is waited for before the sum is measured

	// A connection that gives this many bytes/s is not being throttled, and one
	// that is waited for less than this share of the time is not what is slow.
	growFast  = 8 << 20
	waitShare = 0.8

	// A worker that is done takes half of what another has still before it, if
	// that is worth this much of the other's time, and twice what an answer takes.
	stealWorth = 250 * time.Millisecond
)

// growth is the search for the number of connections that a fill is worth.
type growth struct {
	bytes  int64     // received in all
	since  time.Time // the window that is measured, and what had been received by then
	base   int64
	rate   float64 // of the sum in bytes/s, before the last helpers; 0 if there were none
	before int     // how many workers gave it
	others bool    // lanes that are not in use are asked for helpers
	best   int     // more workers than these were not worth it; 0: not known
	pause  time.Duration
	rest   time.Time     // no helpers before
	delay  time.Duration // how long an answer takes to its first byte, lately
}

// answeredLocked notes how long an answer took.
func (g *growth) answeredLocked(took time.Duration) {
	if g.delay == 0 {
		g.delay = took
	}
	g.delay = (g.delay + took) / 2
}

// speedUp adds helpers until the fill ends.
func (f *fill) speedUp() {
	tick := time.NewTicker(growTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-f.ctx.Done():
			return
		}
		f.mu.Lock()
		if f.state >= proved {
			f.mu.Unlock()
			return
		}
		now := time.Now()
		if !f.crowded.IsZero() && now.After(f.crowded) { // who waits may ask again
			f.crowded = time.Time{}
			f.wakeLocked()
		}
		f.growLocked(now)
		f.mu.Unlock()
	}
}

// growLocked measures the sum, and adds as many workers as there are if the last
// ones were worth it.
func (f *fill) growLocked(now time.Time) {
	g := &f.growth
	flowing, settled := f.flowingLocked(now)
	if !settled || flowing == 0 || !f.dividesLocked(now) {
		g.since, g.base = now, g.bytes
		return
	}
	window := growWindow
	if g.rate == 0 {
		window = growFirst
	}
	took := now.Sub(g.since)
	if took < window || g.bytes == g.base {
		return
	}
	rate := float64(g.bytes-g.base) / took.Seconds()
	g.since, g.base = now, g.bytes
	if left := float64(f.size-f.have.total) / rate; left <= growWorth.Seconds() || now.Before(g.rest) {
		return
	}
	switch {
	case g.rate == 0:
	case g.paid(rate, flowing):
		g.best = 0
	case !g.others:
		g.others, g.best = true, g.before
	default:
		g.pause = max(2*g.pause, growRest)
		g.rate, g.others, g.rest = 0, false, now.Add(g.pause)
		return
	}
	g.rate, g.before = rate, flowing
	f.helpLocked(flowing)
}

// paid reports whether the last helpers have brought a good part of what linear
// growth would have.
func (g *growth) paid(rate float64, flowing int) bool {
	if flowing <= g.before {
		return false
	}
	linear := g.rate * float64(flowing) / float64(g.before)
	return rate >= g.rate+growShare*(linear-g.rate)
}

// flowingLocked counts the workers whose bytes flow. It is not settled while one
// of the others has just asked.
func (f *fill) flowingLocked(now time.Time) (n int, settled bool) {
	for _, w := range f.workers {
		if !w.first.IsZero() {
			n++
		} else if now.Sub(w.asked) < growSettle {
			return n, false
		}
	}
	return n, true
}

// dividesLocked reports whether the blob can be fetched in several parts at once.
func (f *fill) dividesLocked(now time.Time) bool {
	return f.state == running && !f.halted && !f.fresh && f.size >= 0 && !f.single && !f.noRange && !now.Before(f.crowded)
}

// helpLocked starts up to n helpers.
func (f *fill) helpLocked(n int) {
	var inUse []string
	if f.growth.others {
		for _, w := range f.workers {
			inUse = append(inUse, w.source)
		}
	}
	for range min(n, maxHelped-len(f.workers)) {
		w := f.newWorkerLocked()
		w.others = inUse
		if !f.stealLocked(w, 2*growWorth) {
			w.cancel()
			return
		}
		f.s.counts.helpers.Add(1)
		f.launchLocked(w)
	}
}

// stealLocked gives w the upper half of the longest rest that another worker has
// before it, if that is worth more than so much of the other's time.
func (f *fill) stealLocked(w *worker, worth time.Duration) bool {
	now := time.Now()
	if !f.dividesLocked(now) {
		return false
	}
	var victim *worker
	for _, other := range f.workers {
		if other == w || other.serial || victim != nil && other.end-other.pos <= victim.end-victim.pos {
			continue
		}
		if other.end-other.pos >= 2*minPiece && other.slowLocked(now, worth) {
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
	w.claim(middle, victim.end)
	w.helper = true
	victim.end = middle
	return true
}

// slowLocked reports whether another connection may bring a part of what is
// before w sooner, and that is worth so much of its time.
func (w *worker) slowLocked(now time.Time, worth time.Duration) bool {
	if w.first.IsZero() {
		return now.Sub(w.asked) >= growWorth
	}
	rate := w.rateLocked(now)
	if rate == 0 || rate >= growFast || !w.waitsLocked(now) {
		return false
	}
	return float64(w.end-w.pos) >= rate*worth.Seconds()
}
