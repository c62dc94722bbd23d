package balancer

import (
	"slices"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/lapse"
)

// A lane that is much slower than the others is not out of order: no gate closes for it.
// What it sends gets company from another lane, by the room that reads it; and where
// that has come first again and again, the lane is asked after the others for a while
// (docs/faults.md F53).
const (
	slowMemory    = 10 * time.Minute // for how long it is remembered that a lane was outrun
	slowTime      = 5 * time.Minute  // for how long it comes after others, times how often it went on so
	slowMax       = time.Hour
	slowBlobs     = 2 // so many times it is outrun, for blobs within slowMemory,
	slowManifests = 3 // and for manifests in a row, until it comes after others

	// fastEnough is what a lane may send, in bytes/s, however fast others are.
	fastEnough = 1 << 20

	// evenTime is for how long a lane's pace is taken for that of our own line, once
	// another was no faster.
	evenTime = 10 * time.Minute

	// Below this share of the floor company may cost money, and is tried again although it
	// was no faster a while ago: nothing is lost by it.
	crawlShare = 16

	// A manifest's lane is outrun when it has kept a client waiting for this long, and
	// for so many times what the other took.
	slowManifest = time.Second
	slowRatio    = 4
)

// A slowness is what is known of a lane's pace for a class beside that of others. It is
// guarded by its lane's mutex.
type slowness struct {
	outrun int
	last   time.Time // when it was outrun last
	of     subject   // for what
	until  time.Time // it is asked after others before that
	even   time.Time // another was no faster: before that none is tried for being unknown
}

// outran counts that another lane was much faster. most is how often that may be.
func (s *slowness) outran(of subject, now time.Time, most int) {
	if now.Sub(latest(s.last, s.until)) > slowMemory {
		s.outrun = 0
	}
	s.outrun, s.last, s.of = s.outrun+1, now, of
	if over := s.outrun - most + 1; over > 0 {
		s.until = now.Add(min(slowTime*time.Duration(over), slowMax))
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// isSlow reports whether the lane comes after others for some class at t, and for which.
func (v *gateView) isSlow(t time.Time) (class pullchain.Class, slow bool) {
	i := slices.IndexFunc(v.slow[:], func(until time.Time) bool { return !lapse.Over(until, t) })
	return pullchain.Class(max(i, 0)), i >= 0
}

// TooSlow reports whether the named upstream, which sends the blob of req with so many
// bytes/s, is to get company: it is below its floor and another, or another connection,
// may be faster; or another was much faster lately. crawls says that it is so slow that
// company may cost what a request of a client may: nothing else brings the bytes.
func (b *Balancer) TooSlow(upstream string, req pullchain.Request, rate float64) (slow, crawls bool) {
	l := b.lane(upstream)
	if l == nil || rate >= fastEnough || isHeldBack(l) {
		return false, false
	}
	p := paceOf(l, rate)
	return !p.even && p.rate < p.floor || p.isOutrun(b, l, req), p.crawls()
}

// isHeldBack reports whether it is a bound of the configuration, and not the lane, that is
// slow: what is read was waited for lately.
func isHeldBack(l *Lane) bool {
	held := l.up.Facts().HeldBack
	return !held.IsZero() && time.Since(held) < paceWindow
}

// A lanePace is how fast a lane sends, and what is known of that.
type lanePace struct {
	rate, floor, ratio float64
	even               bool // others were no faster a while ago, and it does not crawl
}

func (p lanePace) crawls() bool { return p.rate*crawlShare < p.floor }

func paceOf(l *Lane, rate float64) lanePace {
	p := lanePace{rate: rate, floor: float64(l.cfg.Patience.Rate), ratio: float64(l.cfg.Patience.Ratio)}
	l.mu.Lock()
	defer l.mu.Unlock()
	p.even = time.Now().Before(l.gates.slow[pullchain.ClassBlob].even) && !p.crawls()
	return p
}

// isOutrun reports whether another lane may bring what req asks for much faster than l.
func (p lanePace) isOutrun(b *Balancer, l *Lane, req pullchain.Request) bool {
	now := time.Now()
	return slices.ContainsFunc(b.lanes, func(other *Lane) bool {
		return other != l && p.mayBeOutrunBy(other) && other.closed(req, now) == nil && !b.known.lacks(other, req, now)
	})
}

// mayBeOutrunBy reports whether other is worth a request.
func (p lanePace) mayBeOutrunBy(other *Lane) bool {
	known := other.ledger.throughput()
	switch {
	case p.even, other.cfg.Metered && !p.crawls():
		return false
	case p.rate < p.floor:
		return known == 0 || known > 2*p.rate
	}
	return known > p.ratio*p.rate
}

// Outrun tells of the blob of req, for which the named upstream got company: whether the
// other upstream was much faster. It is safe for concurrent use.
func (b *Balancer) Outrun(upstream string, req pullchain.Request, faster bool) {
	if l := b.lane(upstream); l != nil {
		outrun(l, req, faster)
	}
}

// outrun notes whether another lane was much faster than l for req. One tag or digest tells
// of it once.
func outrun(l *Lane, req pullchain.Request, faster bool) {
	defer l.changed()
	l.mu.Lock()
	defer l.mu.Unlock()
	now, class := time.Now(), req.Class()
	s := &l.gates.slow[class]
	switch {
	case !faster:
		s.even = now.Add(evenTime)
	case s.of == subjectOf(req) && now.Sub(s.last) < slowMemory:
	case class == pullchain.ClassManifest:
		s.outran(subjectOf(req), now, slowManifests)
	default:
		s.outran(subjectOf(req), now, slowBlobs)
	}
}

// noteOutrun takes note of the lanes that a hedge has left far behind.
func (r *race) noteOutrun(winner *attempt) {
	if !winner.hedge || r.req.Class() != pullchain.ClassManifest {
		return
	}
	now := time.Now()
	for _, a := range r.running {
		took := now.Sub(a.start) - a.watch.queuedFor()
		if late, _ := a.watch.late(); !a.hedge && !late && took >= slowManifest && took >= slowRatio*now.Sub(winner.start) {
			outrun(a.lane, r.req, true)
		}
	}
}
