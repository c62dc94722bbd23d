package balancer

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain"
)

// Why attempts are canceled, apart from the client.
var (
	errLost      = errors.New("another lane answered first")
	errOutOfTime = errors.New("the time for a first byte is spent")
)

// A race is one request on its way to one or, when the first is silent, several
// lanes at once. One goroutine runs it, that of the request; each attempt has one of
// its own, because a Fetch cannot be waited for together with timers. All they say
// to each other goes through two channels with room for everything that can be sent,
// so that no attempt or timer ever waits for a race that is over.
//
// Which attempt wins is decided where its answer comes in, by won: the race may have
// ended by then, and an answer that is too late must be closed by its own goroutine.
type race struct {
	b       *Balancer
	req     pullchain.Request
	log     *attemptLog
	ctx     context.Context
	cancel  context.CancelCauseFunc
	results chan *attempt // every attempt, once it has ended
	nudges  chan *attempt // attempts that have kept us waiting
	won     atomic.Bool   // an attempt has succeeded
	running []*attempt
	limit   *time.Timer // fires when the budget is spent
	lastErr error       // of the attempt that ended last
}

// race asks lanes in order, the next as soon as one has failed, or beside it
// when it keeps us waiting. It returns the first good answer, or nil when there
// is none; the log says why.
func (b *Balancer) race(ctx context.Context, req pullchain.Request, lanes []*Lane, log *attemptLog) *winner {
	if len(lanes) == 0 {
		return nil
	}
	b.hedges.earn()
	r := newRace(ctx, b, req, log, len(lanes))
	return r.finish(r.run(r.start(lanes, false)))
}

// newRace returns a race with room for n attempts. It must be finished. An attempt
// nudges at most four times: it has no connection, it may be hedged, it is to be, it has
// had its share of the budget.
func newRace(ctx context.Context, b *Balancer, req pullchain.Request, log *attemptLog, n int) *race {
	r := &race{b: b, req: req, log: log, results: make(chan *attempt, n), nudges: make(chan *attempt, 4*n)}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.limit = time.NewTimer(budget(req) + log.granted - time.Since(log.began))
	return r
}

// finish ends the race that first has won; nil if none has.
func (r *race) finish(first *attempt) *winner {
	r.limit.Stop()
	if first == nil {
		r.cancel(errLost)
		return nil
	}
	return &winner{lane: first.lane, admission: first.admission, resp: first.resp, cancel: r.cancel}
}

// run waits for the attempts that have been started, and starts more of lanes
// as it comes to it. It returns the first that succeeds.
func (r *race) run(lanes []*Lane) *attempt {
	for len(r.running) > 0 {
		if hasFallback(r.req) && (len(lanes) == 0 || r.req.Options.Speculative) && r.notYetConnected() {
			return r.abandon()
		}
		select {
		case a := <-r.results:
			r.ended(a)
			if a.err == nil {
				r.noteOutrun(a)
				r.endLosers()
				return a
			}
			if errors.Is(a.err, errLost) {
				continue // it came second: the report of the first is on its way
			}
			if r.decisive(a.err) {
				return r.abandon()
			}
			if r.allTardy() {
				lanes = r.start(lanes, false)
			}
		case a := <-r.nudges:
			a.tardy = true
			if len(lanes) > 0 && r.mayJoin(a, lanes[0]) {
				lanes = r.start(lanes, true)
			}
		case <-r.limit.C:
			r.spent()
		case <-r.ctx.Done():
			return r.abandon()
		}
	}
	return nil
}

// maxQueued is how much longer than its budget a request may take that waits for
// connections of our own. A node that pulls a hundred images at once is served in
// the end; a client that has given up by then ends it sooner.
const maxQueued = 10 * time.Minute

// spent ends the race, or gives it the time back that was spent on waiting for
// one of our own connections to come free: while all that an upstream may have
// are busy, the far end is not silent, and a client is better off waiting than told
// that the upstream is down. A request that has something to fall back on does not
// wait.
func (r *race) spent() {
	queued := r.log.queued
	for _, a := range r.running {
		queued = max(queued, r.log.queued+a.watch.queuedFor())
	}
	more := min(queued, maxQueued) - r.log.granted
	if more <= 0 || hasFallback(r.req) {
		r.cancel(errOutOfTime)
		return
	}
	r.log.granted += more
	r.limit.Reset(more)
}

// notYetConnected reports whether none of the lanes being asked has so much as let
// us connect in the time that it is given for it. A request that has something to
// fall back on waits for them no longer: where every upstream is a black hole, that
// is the whole time of a dial, five seconds, for each tag that is asked for
// (docs/faults.md F02, F38). The lanes begin a dial backoff for it, as any that are
// silent.
func (r *race) notYetConnected() bool {
	for _, a := range r.running {
		if !a.watch.notConnected() {
			return false
		}
	}
	return true
}

// allTardy reports whether no answer is to be expected soon: every attempt that
// still runs has kept us waiting before.
func (r *race) allTardy() bool {
	for _, a := range r.running {
		if !a.tardy {
			return false
		}
	}
	return true
}

// abandon ends the race without a winner, unless an attempt has won it in this
// very moment: whichever sets won first decides, the attempt or this, and an answer
// that has won must reach a caller that closes it.
func (r *race) abandon() *attempt {
	var first *attempt
	for !r.won.CompareAndSwap(false, true) && first == nil {
		a := <-r.results
		r.ended(a)
		if a.err == nil {
			first = a
		}
	}
	r.endLosers()
	return first
}

// start begins an attempt at the first lane that lets it through, and returns
// the lanes after that. beside says that another attempt still runs.
func (r *race) start(lanes []*Lane, beside bool) []*Lane {
	for i, l := range lanes {
		a, g := l.admit(r.req, false, beside)
		if g != nil { // it has closed since the lane was chosen
			r.log.recorded(g, time.Now())
			continue
		}
		r.launch(l, a, beside)
		return lanes[i+1:]
	}
	return nil
}

// launch makes the attempt, in a goroutine, and sets what nudges the race if it takes
// long. Only a manifest is hedged for being slow: it is small, and asked for once
// more costs little. A blob's first byte may be late because its CDN has to fetch it.
func (r *race) launch(l *Lane, admitted *admission, beside bool) {
	a := &attempt{race: r, lane: l, admission: admitted, start: time.Now(), hedge: beside}
	a.ctx, a.cancel = context.WithCancelCause(r.ctx)
	a.watch = watchConnect(l.cfg.Patience.Connect, &l.load.queue, func(silent, reached bool) {
		if silent && !reached && !r.req.Options.Speculative { // behind a first answer it is a CDN's silence, and manifests go on
			l.foundSilent()
		}
		r.nudges <- a
	})
	a.last = time.AfterFunc(share(r.req), func() { r.nudges <- a })
	if r.req.Class() == pullchain.ClassManifest {
		a.hedgeAfter = l.hedgeDelay()
		a.hedged = time.AfterFunc(a.hedgeAfter, func() { r.nudges <- a })
		a.slow = time.AfterFunc(a.hedgeAfter+slowManifest, func() { r.nudges <- a })
	}
	r.running = append(r.running, a)
	go a.run()
}

// ended takes note of a, which its goroutine has reported. A winner's admission stays
// open until its body is closed: only then is it known how the request went.
func (r *race) ended(a *attempt) {
	r.forget(a)
	took := time.Since(a.start)
	err := a.err
	if cause := context.Cause(r.ctx); err != nil && errors.Is(cause, errOutOfTime) {
		err = outOfTime(a.lane)
	}
	r.log.tried(a, took, err)
	r.lastErr = err
	if a.hedge {
		r.b.totals.hedged(err)
	}
	if err != nil {
		a.admission.end(a.forLane(err))
		r.b.known.learnAbsent(a.lane, r.req, err, r.b.notFoundTTL)
		return
	}
	a.lane.ledger.waited(r.req.Class(), took)
	if r.req.Op != pullchain.Blob && !r.req.Head {
		a.lane.load.received.Add(max(a.resp.Size, 0)) // a blob's bytes are counted as they are read
	}
	a.lane.remember(r.req, a.resp)
	r.b.known.learnSizes(r.req.Repo, a.resp.Links)
}

func (r *race) forget(a *attempt) {
	r.log.queued += a.watch.queuedFor()
	a.stopTimers()
	r.running = slices.DeleteFunc(r.running, func(other *attempt) bool { return other == a })
}

// endLosers ends what still runs when the race is decided. A lane that never
// connected is to blame for that; the others were merely slower. One that was
// overtaken while it dialled is judged once it is clear which of them it is.
func (r *race) endLosers() {
	for _, a := range r.running {
		err := lost(a.lane)
		later := false
		_, silent := a.watch.late()
		switch {
		case silent:
			err = a.watch.silence(a.lane)
		case errors.Is(context.Cause(r.ctx), errOutOfTime), time.Since(a.start)-a.watch.queuedFor() >= share(r.req):
			err = outOfTime(a.lane)
		case r.ctx.Err() == nil:
			later = a.judgeLater(err)
		}
		a.stopTimers()
		r.log.tried(a, time.Since(a.start), err)
		if a.hedge {
			r.b.totals.hedged(err)
		}
		if !later {
			a.admission.end(a.forLane(err))
		}
		a.cancel(errLost)
	}
	r.running = nil
}

// decisive reports whether err ends the race: no other lane can do better.
func (r *race) decisive(err error) bool {
	e, ok := errorsAs(err)
	if !ok {
		return !pullchain.ReasonOf(err).Failover()
	}
	if e.Status == http.StatusRequestedRangeNotSatisfiable && r.log.resumed() {
		return false // it lacks what another lane has sent: that the range is wrong is its word alone
	}
	return !e.Reason.Failover() || e.Reason == pullchain.NotFound && e.Final
}
