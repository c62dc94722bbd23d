package balancer

import (
	"slices"
	"time"

	"github.com/pullchain/pullchain"
)

// learn draws the consequences of an outcome, apart from the breaker's: which
// gates close, which open, and what is remembered. e is nil for a success.
// Together with [outcome] it is the table over Reason (docs/architecture.md, Contracts).
func (l *Lane) learn(a *admission, e *pullchain.Error) {
	defer l.changed()
	now := time.Now()
	if e == nil {
		l.cfg.Egress.ok(a.began)
		l.learnSuccess(a, now)
		return
	}
	if a.onlyItself(e) {
		l.backOff(now, e)
		return
	}
	switch {
	case e.Reason == pullchain.Egress:
		l.cfg.Egress.fail(e)
	case e.Status != 0:
		l.cfg.Egress.ok(a.began) // whatever the answer, it came through
	}
	if e.Reason == pullchain.Canceled || e.Reason == pullchain.Invalid {
		return
	}
	l.learnFailure(a, e, now)
}

// learnSuccess opens what a success proves open. An answer to a request that was sent
// before a gate closed proves nothing: many are under way when a lane fails, and
// their answers would open it at once.
func (l *Lane) learnSuccess(a *admission, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	class, g := a.req.Class(), &l.gates
	g.cooldowns[class].ok(a.began, !a.req.Head)
	if a.token != nil {
		g.cooldowns[pullchain.ClassToken].ok(a.began, true)
		g.limits.ok(pullchain.ClassToken, a.began)
	}
	l.past.served(class, now)
	if !a.began.Before(g.dialBackoff.since) {
		g.dialBackoff = dialBackoff{}
	}
	if now.Before(g.grace) && g.grace.Sub(now) < graceTime-graceStep {
		g.grace = now.Add(graceTime)
	}
	g.failback.success(now)
	if class == pullchain.ClassManifest {
		g.slow[class].outrun = 0 // it was the first
	}
	if !a.req.Head { // headers prove no bytes
		delete(g.contents, subjectOf(a.req))
		g.limits.ok(class, a.began)
	}
}

// learnFailure closes what a failure is held against. The Reason says which gate, and
// the Reach how much of the lane; one answer judges no more than that (docs/faults.md 0.2).
func (l *Lane) learnFailure(a *admission, e *pullchain.Error, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	class, g := a.req.Class(), &l.gates
	l.past.lastError, l.past.lastFailed = e, now
	switch e.Reason.Blame() {
	case pullchain.BlameNobody: // it answered, be it "no": it works
		g.cooldowns[class].ok(a.began, !a.req.Head)
		g.failback.success(now)
		l.canary.forget(a.req)
	case pullchain.BlameCooldown:
		g.limited(a.req, e, now)
	case pullchain.BlameQuarantine:
		g.corrupt(a.req, e, now)
	case pullchain.BlameBreaker:
		g.unavailable(e, now)
	}
}

// limited closes what a "too many requests" or a "come back later" speaks of. What was
// said to single images becomes the class's when it has been said to several. A quota's
// 429 that names a time closes the class, for other lanes have no such limit; but where no
// other lane is left another image is asked for all the same, as it would be without us,
// and this one in a moment (docs/faults.md 0.2, 0.3).
func (g *gates) limited(req pullchain.Request, e *pullchain.Error, now time.Time) {
	reach, wide := e.Reach, true
	if reach == pullchain.ReachContent || (reach == pullchain.ReachClass || reach == pullchain.ReachToken) && saidOfOne(e) {
		g.contents.close(subjectOf(req), now, e)
		class := req.Class()
		if reach == pullchain.ReachToken {
			class = pullchain.ClassToken
		}
		wide = g.limits.add(spreadOf{class, e.Code, req.Repo}, now) >= agreeing(e)
	}
	if wide && reach == pullchain.ReachContent {
		reach = pullchain.ReachClass
	}
	for _, class := range reachClasses(reach, req.Class()) {
		g.cooldowns[class].close(now, e, wide)
	}
}

// saidOfOne reports whether a limit that names a time may be one image's. A quota that tells
// that nothing is left speaks to the address or the login.
func saidOfOne(e *pullchain.Error) bool {
	return e.RetryAfter > 0 && !e.Quota.Spent()
}

// agreeing is how many repositories must have been told e before it is the lane's. A guard
// against abuse speaks to the address as a rule, and asking on extends the ban; but what
// stands before a registry has rules for single names, too (docs/faults.md F67). Its word on
// /v2/, which the prober hears, needs no other.
func agreeing(e *pullchain.Error) int {
	if e.Code == pullchain.CodeAbuse {
		return 2
	}
	return spreadWide
}

// corrupt holds wrong bytes against the lane for this digest, and against all of it
// when they have come for several repositories: storage rots by the object, and a
// mirror that lies lies of more than one. A botched range is a missing skill: the lane
// serves whole blobs as well as any. Of a label nothing follows, nor of a web page: the
// probe sees whether a registry is there.
func (g *gates) corrupt(req pullchain.Request, e *pullchain.Error, now time.Time) {
	switch {
	case !req.Range.Whole() && (e.Code == pullchain.CodeWrongRange || e.Code == pullchain.CodeEncoded):
		g.ignoresRange = true
	case req.Head || e.Reach == pullchain.ReachRequest: // a header was wrong; no byte was
	case e.Code == pullchain.CodeDigestMismatch: // proved, for these bytes
		g.contents.close(subjectOf(req), now, e)
		g.corrupted = now
		if g.corruptions.add(spreadOf{repo: req.Repo}, now) >= spreadWide {
			g.quarantine.close(now, e)
			g.failback.trouble()
		}
	}
}

// unavailable begins a dial backoff if the upstream's own host could not be connected
// to. The breaker counts the failure as well, but trips at the third refused
// connection only; a burst of a hundred requests would all run into it by then.
func (g *gates) unavailable(e *pullchain.Error, now time.Time) {
	if e.Reach != pullchain.ReachLane {
		return
	}
	switch e.Code {
	case pullchain.CodeConnRefused:
		g.dialBackoff.begin(now, backoffRefused, e)
	case pullchain.CodeConnTimeout:
		g.dialBackoff.begin(now, backoffSilent, e)
	}
}

// foundSilent begins the dial backoff as soon as one of the lane's requests meets
// silence, so that the next does not have to find out again.
func (l *Lane) foundSilent() {
	defer l.changed()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	e := &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeConnTimeout, Reach: pullchain.ReachLane, Upstream: l.Name(), Err: errSilent}
	l.gates.dialBackoff.begin(now, backoffSilent, e)
	l.past.lastError, l.past.lastFailed = e, now
}

// dataClasses are those that serve content; the token server's gates are apart.
var dataClasses = []pullchain.Class{pullchain.ClassManifest, pullchain.ClassBlob}

// reachClasses returns the classes that a failure of a request of class c
// speaks of.
func reachClasses(s pullchain.Reach, c pullchain.Class) []pullchain.Class {
	switch s {
	case pullchain.ReachLane:
		return dataClasses
	case pullchain.ReachToken:
		return []pullchain.Class{pullchain.ClassToken}
	case pullchain.ReachRequest, pullchain.ReachContent:
		return nil
	}
	return []pullchain.Class{c}
}

// Blame holds err, as a rule that a digest does not match, against the lane
// over upstream for what req asked for, as if that lane's own body had been found
// wrong here. It is for
// callers that check the bytes themselves (FetchOptions.Unverified). A name that
// no lane has is ignored: a reload may have removed it. It is safe for concurrent
// use.
func (b *Balancer) Blame(upstream string, req pullchain.Request, err error) {
	l := b.lane(upstream)
	if l == nil || err == nil {
		return
	}
	e := asError(l.ownError(err))
	l.ledger.fault(req, e)
	l.learn(&admission{lane: l, req: req, began: time.Now()}, e)
}

// lane returns the lane of that name, or nil.
func (b *Balancer) lane(name string) *Lane {
	i := slices.IndexFunc(b.lanes, func(l *Lane) bool { return l.Name() == name })
	if i < 0 {
		return nil
	}
	return b.lanes[i]
}

// outcome is err in gobreaker's terms: an answer is a success even if it is
// "no", and what is not the upstream's fault is not counted at all.
func outcome(err error) error {
	if err == nil {
		return nil
	}
	e := asError(err)
	switch {
	case e.Reason == pullchain.NotFound || e.Reason == pullchain.Denied:
		return nil
	case e.Reason.Blame() == pullchain.BlameBreaker && e.Reach != pullchain.ReachRequest && e.Reach != pullchain.ReachContent:
		return err
	}
	return errExcluded
}

// failureThreshold says how many failures of e's kind in a row trip the breaker
// (docs/faults.md F02, F04, F12, F13); 0 is as configured. The surer it is that the next
// request fails as well, and the longer it takes to find out, the fewer: an upstream
// that is silent costs each request seconds, a 500 milliseconds and may be the fault
// of one image.
func failureThreshold(e *pullchain.Error) int {
	switch {
	case e.Code == pullchain.CodeTLSCert:
		return 1 // a certificate does not get better by asking again
	case e.Code == pullchain.CodeConnTimeout || e.Code == pullchain.CodeTLSHandshake:
		return 2
	case e.Code == pullchain.CodeOriginDown:
		switch e.Status {
		case 521, 522, 523, 525, 526: // Cloudflare cannot reach the origin at all
			return 2
		}
		return 3
	case e.Status == 502 || e.Status == 503 || e.Status == 504:
		return 3
	case e.Code == pullchain.CodeConnRefused || e.Code == pullchain.CodeDNS || e.Code == pullchain.CodeStall:
		return 3
	}
	return 0
}
