package balancer

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/lapse"
)

// What an upstream says of its quota moves counted requests to others before the first
// 429 (docs/faults.md F08), and shares them out among several logins at one registry (F66).
// It closes no gate: where no other lane is open, the last of a quota is there to be used.

// A reading is believed until its window must have ended, of which only the length is told
// (docs/protocol.md 4.1). It may have ended long before, so that a low one is renewed by the
// prober, whose HEADs no quota counts.
const (
	quotaRenew  = 10 * time.Minute // and for so long one without a window is believed
	quotaLonger = 24 * time.Hour   // no window is taken to be longer
)

// believedUntil is when a reading says nothing any more; zero for none.
func believedUntil(q *pullchain.Quota) time.Time {
	if q == nil {
		return time.Time{}
	}
	return q.At.Add(min(cmp.Or(q.Window, quotaRenew), quotaLonger))
}

// sparedUntil is until when a reading has counted requests sent elsewhere, if there is an
// elsewhere; zero if enough is left.
func sparedUntil(q *pullchain.Quota) time.Time {
	if !q.Low() {
		return time.Time{}
	}
	return believedUntil(q)
}

// leftOf is how many counted requests q leaves. What has said nothing lately has no limit,
// or will say so when it is asked.
func leftOf(q *pullchain.Quota, now time.Time) int {
	if q == nil || q.Limit <= 0 || lapse.Over(believedUntil(q), now) {
		return math.MaxInt
	}
	return q.Remaining
}

// shareOut has the lanes of one host that count against different logins take each other's
// places, those first that have most left: such lanes are one path, and which of them the
// configuration names first says nothing. rank is what counts before the place: what it puts
// last anyway takes no place from one that could use it. Only counted requests are shared out. HEADs and
// blobs stay with the first login, which has a token for them.
func shareOut(lanes []candidate, rank func(a, b candidate) int) {
	done := map[string]bool{}
	for _, c := range lanes {
		if c.host == "" || done[c.host] {
			continue
		}
		done[c.host] = true
		var group, places []int
		several := false
		for i := range lanes {
			if lanes[i].host == c.host {
				group, places = append(group, i), append(places, lanes[i].place)
				several = several || lanes[i].account != c.account
			}
		}
		if !several {
			continue
		}
		slices.Sort(places)
		slices.SortStableFunc(group, func(a, b int) int {
			return cmp.Or(rank(lanes[a], lanes[b]), cmp.Compare(lanes[b].left, lanes[a].left), cmp.Compare(lanes[a].place, lanes[b].place))
		})
		for n, i := range group {
			lanes[i].place = places[n]
		}
	}
}

// isSpared reports whether counted requests that could go to the i-th lane at t go to
// another first, because of its quota.
func (v *chainView) isSpared(i int, t time.Time) bool {
	return !lapse.Over(v.lanes[i].spared, t) && slices.ContainsFunc(v.lanes, func(other laneView) bool {
		return other.pullable(t) && lapse.Over(other.spared, t)
	})
}

// renewQuota asks anew for a low quota that was read a while ago: its window may have ended
// since, and what no client asks for by HEAD tells nothing. A registry may tell its quota on
// GET alone: then the reading stays old, and is not asked for at each probe.
func renewQuota(ctx context.Context, l *Lane) {
	q, now := l.up.Facts().Quota, time.Now()
	if lapse.Over(sparedUntil(q), now) {
		return
	}
	l.mu.Lock()
	req, ok := l.canary.of(pullchain.ClassManifest)
	asked := latest(q.At, l.past.renewed)
	l.mu.Unlock()
	if !ok || lapse.Age(asked, now) < quotaRenew {
		return
	}
	a, _ := l.admit(req, false, false)
	if a == nil {
		return
	}
	l.mu.Lock()
	l.past.renewed = now
	l.mu.Unlock()
	resp, err := l.up.Fetch(ctx, req)
	if err == nil {
		resp.Body.Close()
	}
	a.end(err)
}
