package balancer

import (
	"context"
	"errors"
	"time"

	"github.com/pullchain/pullchain"
)

// share is how much of a request's budget one attempt may use up while others
// have not been asked: an upstream that accepts and stays silent must leave the next
// one time to answer.
func share(req pullchain.Request) time.Duration { return budget(req) * 2 / 3 }

// An attempt is one lane's part in a race.
type attempt struct {
	race      *race
	lane      *Lane
	admission *admission
	ctx       context.Context
	cancel    context.CancelCauseFunc
	start     time.Time

	hedgeAfter time.Duration

	hedge  bool // started beside another
	tardy  bool // it has kept us waiting
	watch  *connectWatch
	hedged *time.Timer // nudges when a hedge is due, after hedgeAfter; nil where none is made
	slow   *time.Timer // and when it is, whatever it costs
	last   *time.Timer // nudges when it has had its share of the budget
	resp   pullchain.Response
	err    error
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
// another would have answered, as GHCR's of a millisecond (docs/protocol.md 4.1).
const shortWait = 100 * time.Millisecond

// fetch asks the lane, and asks again after a pause too short to go elsewhere for.
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

func (a *attempt) stopTimers() {
	a.watch.stop()
	a.last.Stop()
	if a.hedged != nil {
		a.hedged.Stop()
		a.slow.Stop()
	}
}

// forLane is what the lane is to learn of err: nothing, if our own queue is where
// the attempt has stood to the end.
func (a *attempt) forLane(err error) error {
	if errors.Is(err, errOutOfTime) && a.watch.queues() {
		return lost(a.lane)
	}
	return err
}

// judgeLater leaves the admission of an attempt that is still dialling to its watch:
// net/http goes on dialling for other requests to use the connection, and whether
// that meets silence is not known yet. Else a hedge that always comes first would
// hide a dead lane.
func (a *attempt) judgeLater(lost error) bool {
	return a.watch.outlive(func(silent bool) {
		if silent {
			lost = a.watch.silence(a.lane)
		}
		a.admission.end(lost)
	})
}

// lost is the error of an attempt that was overtaken: nothing is held against l.
func lost(l *Lane) error {
	return &pullchain.Error{Reason: pullchain.Canceled, Code: pullchain.CodeCanceled, Upstream: l.Name(), Err: errLost}
}

// outOfTime is the error of an attempt that had its share of the time, and more.
func outOfTime(l *Lane) *pullchain.Error {
	return &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeHeaderTimeout, Upstream: l.Name(), Err: errOutOfTime}
}

// A winner is the attempt that won a race, and its answer. It must be closed once,
// with nil or with what turned out to be wrong with the answer.
type winner struct {
	lane      *Lane
	admission *admission
	resp      pullchain.Response
	cancel    context.CancelCauseFunc
}

// streams reports whether bytes are still to come from the lane.
func (w *winner) streams() bool {
	return w.admission.req.Op == pullchain.Blob && !w.admission.req.Head
}

// finish ends a winner whose answer holds all of its bytes already.
func (w *winner) finish() {
	w.admission.end(nil)
	w.cancel(nil)
}

// close ends a winner whose body was read, or is not wanted any more.
func (w *winner) close(err error) {
	w.resp.Body.Close()
	w.admission.end(err)
	w.cancel(nil)
}
