package balancer

import (
	"time"

	"github.com/pullchain/pullchain"
)

// recordFailover records the failover that log tells of, if it does. A speculative
// request makes none, whichever lane answered it.
func (b *Balancer) recordFailover(req pullchain.Request, log *attemptLog, to *Lane) {
	first, ok := log.firstFailure(to)
	if !ok && !log.resumed() {
		first, ok = b.replaced(req, to)
	}
	if !ok || req.Options.Speculative {
		return
	}
	added := max(log.lastStart().Sub(first.Start), 0)
	f := &Failover{
		Registry: b.registry, From: first.Upstream, To: to.Name(), Phase: phase(req, log),
		Code: pullchain.CodeOf(first.Err), Offset: max(req.Range.From, 0), Image: req.Image(),
		AddedMS: added.Milliseconds(),
	}
	b.totals.failover(f, added)
	b.states.events.add(Event{Kind: KindFailover, Registry: b.registry, Upstream: f.From, Code: f.Code, Failover: f})
}

// replaced returns what req makes good, if to answers it in the place of a lane
// that is to be avoided for the wrong bytes it has sent.
func (b *Balancer) replaced(req pullchain.Request, to *Lane) (pullchain.Attempt, bool) {
	now := time.Now()
	for _, name := range req.Options.Avoid {
		l := b.lane(name)
		if l == nil || l == to {
			continue
		}
		if v := l.view(); v.quarantine.at(now) {
			return pullchain.Attempt{Upstream: name, Start: now, Err: v.quarantine.cause}, true
		}
		if g := l.closedFor(req, now); g != nil {
			return pullchain.Attempt{Upstream: name, Start: now, Err: g.cause}, true
		}
	}
	return pullchain.Attempt{}, false
}

// phase is when it happened, in the words of the API: what a client sees of it differs.
func phase(req pullchain.Request, log *attemptLog) string {
	switch {
	case req.Op != pullchain.Blob:
		return phaseManifest
	case req.Range.From > 0 && log.resumed():
		return phaseBlobMid
	}
	return phaseBlobStart
}
