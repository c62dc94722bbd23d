package balancer

import (
	"context"
	"crypto/tls"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/pullchain/pullchain"
)

// silentAfter is how long a connection may take before the next lane is
// started beside it. The kernel would wait for minutes, and our own limit is
// five seconds; a SYN that is answered at all is answered within this
// (FAULTS.md F02).
const silentAfter = time.Second

// A connectWatch notices that an attempt does not get a connection. It is fed
// by the HTTP transport, through the attempt's context.
type connectWatch struct {
	fire func(reached bool)

	mu        sync.Mutex
	timer     *time.Timer // runs from the first sign of dialling until a connection is had
	stopped   bool
	fired     bool
	reached   bool              // some connection was had before: the origin is there
	connected bool              // TCP works: it is TLS, or a proxy's far side, that is silent
	tls       bool              // and the handshake has begun
	verdict   func(silent bool) // set when the watch outlives its attempt
}

// watchConnect returns a watch that calls fire, once, when dialling has gone on
// for silentAfter, and tells it whether some connection was had before.
func watchConnect(fire func(reached bool)) *connectWatch { return &connectWatch{fire: fire} }

// attach returns ctx with the hooks that feed the watch.
func (w *connectWatch) attach(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart:          func(httptrace.DNSStartInfo) { w.arm() },
		ConnectStart:      func(_, _ string) { w.arm() },
		ConnectDone:       func(_, _ string, err error) { w.dialled(err) },
		TLSHandshakeStart: w.handshakes,
		TLSHandshakeDone:  func(tls.ConnectionState, error) { w.decide(false) },
		GotConn:           func(httptrace.GotConnInfo) { w.got() },
	})
}

func (w *connectWatch) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil && !w.stopped {
		w.timer = time.AfterFunc(silentAfter, w.expired)
	}
}

func (w *connectWatch) expired() {
	w.mu.Lock()
	fire := w.timer != nil && !w.stopped && !w.fired && !(w.verdict != nil && w.through())
	w.fired = w.fired || fire
	reached := w.reached
	w.mu.Unlock()
	if fire {
		w.fire(reached)
	}
	w.decide(fire)
}

// dialled takes note that TCP has connected or has been refused.
func (w *connectWatch) dialled(err error) {
	w.mu.Lock()
	w.connected = w.connected || err == nil
	w.mu.Unlock()
	if err != nil {
		w.decide(false)
	}
}

func (w *connectWatch) handshakes() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tls = true
}

// through reports whether the connection stands, as far as one can know without
// the transport handing it over, which it does to living attempts only.
func (w *connectWatch) through() bool { return w.connected && !w.tls }

// outlive lets the watch go on beyond its attempt, if that is still dialling its
// first connection: verdict is called once, with whether that was silent.
func (w *connectWatch) outlive(verdict func(silent bool)) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil || w.stopped || w.fired || w.reached || w.through() {
		return false
	}
	w.verdict = verdict
	return true
}

// decide ends a watch that has outlived its attempt.
func (w *connectWatch) decide(silent bool) {
	w.mu.Lock()
	verdict := w.verdict
	w.verdict = nil
	if verdict != nil {
		w.stopped = true
		if w.timer != nil {
			w.timer.Stop()
		}
	}
	w.mu.Unlock()
	if verdict != nil {
		verdict(silent)
	}
}

func (w *connectWatch) disarm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer, w.reached, w.connected, w.tls = nil, true, false, false
}

// got takes note that the attempt has a connection, new or idle.
func (w *connectWatch) got() {
	w.disarm()
	w.decide(false)
}

// stop ends the watch, for its attempt is over, unless it is to outlive it.
func (w *connectWatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.verdict != nil {
		return
	}
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// silent reports whether the attempt is still without the connection that it
// has waited for too long.
func (w *connectWatch) silent() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fired && w.timer != nil
}

// blame says whose fault the silence is: behind an egress whose own port does
// not answer, the egress's; after a first connection, that of the place that a
// redirect led to; else the upstream's.
func (w *connectWatch) blame(l *Lane) *pullchain.Error {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeConnTimeout, Upstream: l.Name(), Err: errSilent}
	switch {
	case l.cfg.Egress != nil && !w.connected && !w.reached:
		e.Reason, e.Code = pullchain.Egress, pullchain.CodeEgressProxy
	case !w.reached:
		e.Scope = pullchain.ScopeUpstream
	}
	return e
}

// silent holds the lane as soon as one of its requests meets silence, so that
// the next does not have to find out again. Silence behind a first connection
// is that of a CDN: the breaker of blobs learns of it, and manifests go on.
func (l *Lane) silent(reached bool) {
	if reached {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	e := &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeConnTimeout, Scope: pullchain.ScopeUpstream, Upstream: l.Name(), Err: errSilent}
	l.hold = hold{until: now.Add(holdSilent), cause: e}
	l.lastError, l.lastFailed = e, now
}
