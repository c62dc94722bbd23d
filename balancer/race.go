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
// lanes at once.
type race struct {
	b       *Balancer
	req     pullchain.Request
	trail   *trail
	ctx     context.Context
	cancel  context.CancelCauseFunc
	results chan *attempt // every attempt, once it has ended
	nudges  chan *attempt // attempts that have kept us waiting
	won     atomic.Bool   // an attempt has succeeded
	running []*attempt
	limit   *time.Timer // fires when the budget is spent
	lastErr error       // of the attempt that ended last
}

// share is how much of a request's budget one attempt may use up while others
// have not been asked.
func share(req pullchain.Request) time.Duration { return budget(req) * 2 / 3 }

// An attempt is one lane's part in a race.
type attempt struct {
	race   *race
	lane   *Lane
	call   *call
	ctx    context.Context
	cancel context.CancelCauseFunc
	start  time.Time
	hedge  bool
	tardy  bool // it has kept us waiting
	watch  *connectWatch
	timer  *time.Timer // nudges when a hedge is due
	last   *time.Timer // nudges when it has had its share of the budget
	resp   pullchain.Response
	err    error
}

// race asks lanes in order, the next as soon as one has failed, or beside it
// when it keeps us waiting. It returns the first good answer, or nil when there
// is none; the trail knows why.
func (b *Balancer) race(ctx context.Context, req pullchain.Request, lanes []*Lane, t *trail) *answer {
	if len(lanes) == 0 {
		return nil
	}
	b.hedges.earn()
	r := newRace(ctx, b, req, t, len(lanes))
	return r.finish(r.run(r.start(lanes, false)))
}

// newRace returns a race with room for n attempts. It must be finished.
func newRace(ctx context.Context, b *Balancer, req pullchain.Request, t *trail, n int) *race {
	r := &race{b: b, req: req, trail: t, results: make(chan *attempt, n), nudges: make(chan *attempt, 3*n)}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.limit = time.NewTimer(budget(req) + t.granted - time.Since(t.began))
	return r
}

// finish ends the race that winner has won; nil if nobody has.
func (r *race) finish(winner *attempt) *answer {
	r.limit.Stop()
	if winner == nil {
		r.cancel(errLost)
		return nil
	}
	return &answer{lane: winner.lane, call: winner.call, resp: winner.resp, cancel: r.cancel}
}

// run waits for the attempts that have been started, and starts more of lanes
// as it comes to it. It returns the first that succeeds.
func (r *race) run(lanes []*Lane) *attempt {
	for len(r.running) > 0 {
		if spare(r.req) && (len(lanes) == 0 || r.req.Options.Speculative) && r.unheard() {
			return r.abandon()
		}
		select {
		case a := <-r.results:
			r.ended(a)
			if a.err == nil {
				r.settleLosers()
				return a
			}
			if errors.Is(a.err, errLost) {
				continue // a dead heat: the winner's report is on its way
			}
			if r.decisive(a.err) {
				return r.abandon()
			}
			if r.waitsInVain() {
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
// connections of our own.
const maxQueued = 10 * time.Minute

// spent ends the race, or gives it the time back that was spent on waiting for
// one of our own connections to come free: while all that an upstream may have
// are busy, nobody is silent, and who asked is better off waiting than told that
// the upstream is down.
func (r *race) spent() {
	queued := r.trail.queued
	for _, a := range r.running {
		queued = max(queued, r.trail.queued+a.watch.queuedFor())
	}
	more := min(queued, maxQueued) - r.trail.granted
	if more <= 0 || spare(r.req) { // who has something to fall back on does not wait
		r.cancel(errOutOfTime)
		return
	}
	r.trail.granted += more
	r.limit.Reset(more)
}

// waitsInVain reports whether nobody is left from whom an answer is to be
// expected soon: who still runs has kept us waiting before.
func (r *race) waitsInVain() bool {
	for _, a := range r.running {
		if !a.tardy {
			return false
		}
	}
	return true
}

// abandon ends the race without a winner, unless an attempt has won it in this
// very moment: its answer would have nobody to close it.
func (r *race) abandon() *attempt {
	var winner *attempt
	for !r.won.CompareAndSwap(false, true) && winner == nil {
		a := <-r.results
		r.ended(a)
		if a.err == nil {
			winner = a
		}
	}
	r.settleLosers()
	return winner
}

// start begins an attempt at the first lane that lets it through, and returns
// the lanes after that.
func (r *race) start(lanes []*Lane, beside bool) []*Lane {
	for i, l := range lanes {
		c, s := l.begin(r.req, false, beside)
		if s != nil { // its gate shut since it was chosen
			r.trail.met(s, time.Now())
			continue
		}
		r.launch(l, c, beside)
		return lanes[i+1:]
	}
	return nil
}

func (r *race) launch(l *Lane, c *call, beside bool) {
	a := &attempt{race: r, lane: l, call: c, start: time.Now(), hedge: beside}
	a.ctx, a.cancel = context.WithCancelCause(r.ctx)
	a.watch = watchConnect(l.cfg.Patience.Connect, func(silent, reached bool) {
		if silent && !reached && !r.req.Options.Speculative { // behind a first answer it is a CDN's silence, and manifests go on
			l.holdSilence()
		}
		r.nudges <- a
	})
	a.last = time.AfterFunc(share(r.req), func() { r.nudges <- a })
	if r.req.Class() == pullchain.ClassManifest {
		a.timer = time.AfterFunc(l.hedgeDelay(), func() { r.nudges <- a })
	}
	r.running = append(r.running, a)
	go a.run()
}

// run makes the attempt and reports it. A success that comes after another
// attempt's is thrown away here, where its body is.
func (a *attempt) run() {
	resp, err := a.fetch()
	a.watch.stop()
	if err == nil && !a.race.won.CompareAndSwap(false, true) {
		resp.Body.Close()
		resp, err = pullchain.Response{}, lost(a.lane)
	}
	a.resp, a.err = resp, err
	if err != nil {
		a.cancel(nil)
	}
	a.race.results <- a
}

// shortWait is a pause that a registry asks for and that is over before
// another would have answered, as GHCR's of a millisecond (PROTOCOL.md 4.1).
const shortWait = 100 * time.Millisecond

func (a *attempt) fetch() (pullchain.Response, error) {
	ctx := a.watch.attach(a.ctx)
	resp, err := a.race.b.ask(ctx, a.lane, a.race.req)
	if e, ok := errorsAs(err); ok && e.Code == pullchain.CodeThrottle && e.RetryAfter > 0 && e.RetryAfter <= shortWait {
		select {
		case <-time.After(e.RetryAfter):
			return a.race.b.ask(ctx, a.lane, a.race.req)
		case <-ctx.Done():
		}
	}
	return resp, err
}

// ended takes note of a that its goroutine has reported.
func (r *race) ended(a *attempt) {
	r.forget(a)
	took := time.Since(a.start)
	err := a.err
	if cause := context.Cause(r.ctx); err != nil && errors.Is(cause, errOutOfTime) {
		err = outOfTime(a.lane)
	}
	r.trail.tried(a, took, err)
	r.lastErr = err
	if err != nil {
		a.call.end(a.verdict(err))
		r.b.known.learnAbsent(a.lane, r.req, err)
		return
	}
	a.lane.ledger.waited(r.req.Class(), took)
	a.lane.remember(r.req, a.resp)
	r.b.known.learnSizes(r.req.Repo, a.resp.Links)
}

func (r *race) forget(a *attempt) {
	r.trail.queued += a.watch.queuedFor()
	a.stopTimers()
	r.running = slices.DeleteFunc(r.running, func(other *attempt) bool { return other == a })
}

func (a *attempt) stopTimers() {
	a.watch.stop()
	a.last.Stop()
	if a.timer != nil {
		a.timer.Stop()
	}
}

// settleLosers ends what still runs when the race is decided. A lane that never
// connected is to blame for that; the others were merely slower. One that was
// overtaken while it dialled is judged once it is clear which of them it is.
func (r *race) settleLosers() {
	for _, a := range r.running {
		err := lost(a.lane)
		later := false
		_, silent := a.watch.late()
		switch {
		case silent:
			err = a.watch.blame(a.lane)
		case errors.Is(context.Cause(r.ctx), errOutOfTime), time.Since(a.start)-a.watch.queuedFor() >= share(r.req):
			err = outOfTime(a.lane)
		case r.ctx.Err() == nil:
			later = a.judgeLater(err)
		}
		a.stopTimers()
		r.trail.tried(a, time.Since(a.start), err)
		if !later {
			a.call.end(a.verdict(err))
		}
		a.cancel(errLost)
	}
	r.running = nil
}

// verdict is what the lane is to hear of err: nothing, if our own queue is where
// the attempt has stood to the end.
func (a *attempt) verdict(err error) error {
	if errors.Is(err, errOutOfTime) && a.watch.queues() {
		return lost(a.lane)
	}
	return err
}

// judgeLater leaves the call of an attempt that is still dialling to its watch:
// the transport goes on dialling, and whether that is silence is not known yet.
// Else a hedge that always comes first would hide a dead lane.
func (a *attempt) judgeLater(lost error) bool {
	return a.watch.outlive(func(silent bool) {
		if silent {
			lost = a.watch.blame(a.lane)
		}
		a.call.end(lost)
	})
}

// decisive reports whether err ends the race: nobody else can do better.
func (r *race) decisive(err error) bool {
	e, ok := errorsAs(err)
	if !ok {
		return !pullchain.ReasonOf(err).Failover()
	}
	if e.Status == http.StatusRequestedRangeNotSatisfiable && r.trail.resumed() {
		return false // we know better than this lane how long the blob is
	}
	return !e.Reason.Failover() || e.Reason == pullchain.NotFound && e.Final
}

func lost(l *Lane) error {
	return &pullchain.Error{Reason: pullchain.Canceled, Code: pullchain.CodeCanceled, Upstream: l.Name(), Err: errLost}
}

func outOfTime(l *Lane) *pullchain.Error {
	return &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeHeaderTimeout, Upstream: l.Name(), Err: errOutOfTime}
}

// An answer is the winner of a race. It must be closed once, with nil or with
// what turned out to be wrong with it.
type answer struct {
	lane   *Lane
	call   *call
	resp   pullchain.Response
	cancel context.CancelCauseFunc
}

// streams reports whether bytes are still to come from the lane.
func (w *answer) streams() bool {
	return w.call.req.Op == pullchain.Blob && !w.call.req.Head
}

// finish ends an answer that holds all of its bytes already.
func (w *answer) finish() {
	w.call.end(nil)
	w.cancel(nil)
}

func (w *answer) close(err error) {
	w.resp.Body.Close()
	w.call.end(err)
	w.cancel(nil)
}
