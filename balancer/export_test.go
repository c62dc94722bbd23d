package balancer

import (
	"time"

	"github.com/pullchain/pullchain"
)

// StandsAt returns how the i-th lane stands at now, and which gate keeps req from it; both
// follow from the time alone. The clock may have been set before now.
func StandsAt(b *Balancer, i int, req pullchain.Request, now time.Time) (state string, until *time.Time, gate string) {
	if g := b.lanes[i].closed(req, now); g != nil {
		gate = g.gate
	}
	s := b.view().at(now)[i]
	return s.word, s.until, gate
}

// FirstAt returns the name of the lane that is asked first for a tag at now.
func FirstAt(b *Balancer, now time.Time) string { return b.view().first(now).Name() }

// SetHeard makes of the last sign of life of the i-th lane what it is once the clock on the
// wall has been set by by.
func SetHeard(b *Balancer, i int, by time.Duration) {
	h := &b.lanes[i].load.hearing
	h.heard.Add(-int64(by))
	h.asked.since.Add(-int64(by))
}

// A Pause is a cooldown by itself.
type Pause struct{ c cooldown }

// Ask has an upstream ask at now for a pause of d.
func (p *Pause) Ask(d time.Duration, now time.Time) {
	p.c.close(now, &pullchain.Error{Reason: pullchain.Limited, RetryAfter: d}, true)
}

// At reports whether it lasts at now, and whether it binds all requests of its class.
func (p *Pause) At(now time.Time) (lasts, binds bool) { return p.c.at(now), p.c.boundAt(now) }
