package balancer

import (
	"context"
	"crypto/tls"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/pullchain/pullchain"
)

// A connectWatch notices that an attempt does not get a connection. It is fed
// by the HTTP transport, through the attempt's context (net/http/httptrace): an
// error comes only when the dial gives up, after five seconds, and it does not say
// whether the wait was for the far end or for one of our own connections to come
// free (MaxConnsPerHost), which is no fault of the upstream.
//
// An attempt may connect several times: for the redirects it follows, to the token
// server, and again where an idle connection had died.
type connectWatch struct {
	patience time.Duration
	queue    *queue // of its lane
	fire     func(silent, reached bool)

	mu      sync.Mutex
	timer   *time.Timer // runs while the attempt waits for a connection; nil while it does not
	stopped bool
	fired   bool              // it has waited too long
	dials   bool              // for a new connection, and not for one of our own to come free
	open    bool              // the dial has got through: only the handing over is left
	reached bool              // an answer came before: the origin is there
	since   time.Time         // when it began to wait for one of our own to come free; zero while it does not
	queued  time.Duration     // how long it did so before
	decided func(silent bool) // set when the watch outlives its attempt
}

// watchConnect returns a watch that calls fire, once, when a connection has been
// waited for longer than patience. It tells whether it is the far end that is
// silent, and whether an answer came before: that of a hop whose redirect led here.
func watchConnect(patience time.Duration, q *queue, fire func(silent, reached bool)) *connectWatch {
	return &connectWatch{patience: patience, queue: q, fire: fire}
}

// attach returns ctx with the hooks that feed the watch. net/http may go on
// dialling after the attempt has got an idle connection instead (Transport.getConn):
// that dial says nothing of the attempt.
func (w *connectWatch) attach(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:           func(string) { w.waits() },
		DNSStart:          func(httptrace.DNSStartInfo) { w.dialling() },
		ConnectStart:      func(_, _ string) { w.dialling() },
		ConnectDone:       func(_, _ string, err error) { w.dialled(err) },
		TLSHandshakeStart: func() { w.through(false) },
		TLSHandshakeDone:  func(tls.ConnectionState, error) { w.through(true); w.decide(false) },
		GotConn:           func(httptrace.GotConnInfo) { w.got(); w.decide(false) },

		GotFirstResponseByte: w.answered,
	})
}

// waits begins the wait for a connection, idle or new.
func (w *connectWatch) waits() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dials, w.open = false, false
	if w.since.IsZero() && !w.stopped {
		w.since = time.Now()
		w.queue.enter()
	}
	if w.timer == nil && !w.stopped {
		w.timer = time.AfterFunc(w.patience, w.expired)
	}
}

// dialling takes note that a new connection is being made: the queue is over.
func (w *connectWatch) dialling() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dials = w.dials || w.timer != nil
	w.servedLocked()
}

// servedLocked ends the wait for one of our own connections.
func (w *connectWatch) servedLocked() {
	if w.since.IsZero() {
		return
	}
	w.leaveQueueLocked()
	w.queued += time.Since(w.since)
	w.since = time.Time{}
}

// leaveQueueLocked takes the attempt out of the lane's queue, which it is in while it waits
// and is not over.
func (w *connectWatch) leaveQueueLocked() {
	if !w.since.IsZero() && !w.stopped {
		w.queue.leave()
	}
}

// queuedFor is how long the attempt has waited for one of our own connections.
func (w *connectWatch) queuedFor() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since.IsZero() {
		return w.queued
	}
	return w.queued + time.Since(w.since)
}

// queues reports whether that is where it stands, or stood to the end.
func (w *connectWatch) queues() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.since.IsZero()
}

// dialled takes note that TCP has connected or has been refused.
func (w *connectWatch) dialled(err error) {
	if err != nil {
		w.decide(false)
		return
	}
	w.through(true)
}

// through takes note that the far end has let us connect, or that it now has to do
// its part of a TLS handshake, in which it can be silent as well.
func (w *connectWatch) through(open bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = open
}

// got takes note that the attempt has its connection.
func (w *connectWatch) got() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer = nil
	w.servedLocked()
}

// answered takes note that the far end is there. To have been given a connection
// does not prove it: an idle one may have died, and the next is dialled.
func (w *connectWatch) answered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reached = true
}

// expired is called when the wait has lasted for the lane's patience.
func (w *connectWatch) expired() {
	w.mu.Lock()
	live := w.timer != nil && !w.stopped && !w.fired
	silent := live && w.dials && !(w.decided != nil && w.open)
	w.fired = w.fired || live
	reached := w.reached
	w.mu.Unlock()
	if live {
		w.fire(silent, reached)
	}
	w.decide(silent)
}

// outlive lets the watch go on beyond its attempt, if that is still dialling its
// first connection: decided is called once, with whether that was silent.
func (w *connectWatch) outlive(decided func(silent bool)) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil || w.stopped || w.fired || !w.dials || w.reached || w.open {
		return false
	}
	w.decided = decided
	return true
}

// decide ends a watch that has outlived its attempt.
func (w *connectWatch) decide(silent bool) {
	w.mu.Lock()
	decided := w.decided
	w.decided = nil
	if decided != nil {
		w.stopLocked()
	}
	w.mu.Unlock()
	if decided != nil {
		decided(silent)
	}
}

// stop ends the watch, for its attempt is over, unless it is to outlive it.
func (w *connectWatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.decided == nil {
		w.stopLocked()
	}
}

func (w *connectWatch) stopLocked() {
	w.leaveQueueLocked()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// late reports whether the attempt is still without the connection that it has
// waited for too long, and silent whether that is the far end's doing.
func (w *connectWatch) late() (late, silent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	late = w.fired && w.timer != nil
	return late, late && w.dials
}

// notConnected reports whether the far end has not answered at all, and is
// overdue.
func (w *connectWatch) notConnected() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fired && w.timer != nil && w.dials && !w.open && !w.reached
}

// silence is the error of an attempt that got no connection: after a first answer
// it is that of the place that a redirect led to, else the upstream's. A proxy that
// is silent is found out by the next probe through it, which knows that it was the
// proxy.
func (w *connectWatch) silence(l *Lane) *pullchain.Error {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeConnTimeout, Upstream: l.Name(), Err: errSilent}
	if !w.reached {
		e.Reach = pullchain.ReachLane
	}
	return e
}
