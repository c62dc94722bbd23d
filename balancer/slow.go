package balancer

import (
	"slices"
	"time"

	"github.com/pullchain/pullchain"
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
	until  time.Time // it is asked after others before that
	even   time.Time // another was no faster: before that none is tried for being unknown
}

// outran counts that another lane was much faster. most is how often that may be.
func (s *slowness) outran(now time.Time, most int) {
	if now.Sub(latest(s.last, s.until)) > slowMemory {
		s.outrun = 0
	}
	s.outrun, s.last = s.outrun+1, now
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
	i := slices.IndexFunc(v.slow[:], func(until time.Time) bool { return t.Before(until) })
	return pullchain.Class(max(i, 0)), i >= 0
}

// TooSlow reports whether the named upstream, which sends the blob of req with so many
// bytes/s, is to get company: it is below its floor and another, or another connection,
// may be faster; or another was much faster lately.
func (b *Balancer) TooSlow(upstream string, req pullchain.Request, rate float64) bool {
	l := b.lane(upstream)
	if l == nil || rate >= fastEnough {
		return false
	}
	now := time.Now()
	l.mu.Lock()
	even := now.Before(l.gates.slow[pullchain.ClassBlob].even)
	l.mu.Unlock()
	return slices.ContainsFunc(b.lanes, func(other *Lane) bool {
		return mayBeOutrun(l, other, rate, even) && (other == l || other.closed(req, now) == nil && !b.lacks(other, req, now))
	})
}

// mayBeOutrun reports whether other is worth a request beside l, which sends rate
// bytes/s. even says that l was not slower than others a while ago.
func mayBeOutrun(l, other *Lane, rate float64, even bool) bool {
	floor, known := float64(l.cfg.Patience.Rate), other.ledger.throughput()
	if other == l {
		known = 0 // what one connection gives says little of the next
	}
	if other.cfg.Metered {
		return rate*crawlShare < floor && (known > 2*rate || known == 0)
	}
	switch {
	case known == 0:
		return rate < floor && (!even || rate*crawlShare < floor)
	case rate < floor:
		return known > 2*rate
	}
	return known > float64(l.cfg.Patience.Ratio)*rate
}

// lacks reports whether other has said of late that it has not what req asks for.
func (b *Balancer) lacks(other *Lane, req pullchain.Request, now time.Time) bool {
	err, fresh := b.known.absent(other, req, now)
	return err != nil && (fresh || !err.Final)
}

// Outrun tells of a blob for which the named upstream got company: whether the other
// upstream was much faster. It is safe for concurrent use.
func (b *Balancer) Outrun(upstream string, faster bool) {
	if l := b.lane(upstream); l != nil {
		outrun(l, pullchain.ClassBlob, faster)
	}
}

// outrun notes whether another lane was much faster than l.
func outrun(l *Lane, class pullchain.Class, faster bool) {
	defer l.changed()
	l.mu.Lock()
	defer l.mu.Unlock()
	now, s := time.Now(), &l.gates.slow[class]
	switch {
	case !faster:
		s.even = now.Add(evenTime)
	case class == pullchain.ClassManifest:
		s.outran(now, slowManifests)
	default:
		s.outran(now, slowBlobs)
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
			outrun(a.lane, pullchain.ClassManifest, true)
		}
	}
}
