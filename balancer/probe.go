package balancer

import (
	"context"
	"io"
	"slices"
	"time"

	"github.com/pullchain/pullchain"
)

// A canary holds what a lane last served: requests that the prober can repeat to
// prove the data plane, each of which costs nothing. A manifest is asked for by
// HEAD, which Docker Hub does not count, a blob for its first byte. It is guarded
// by its lane's mutex.
type canary struct {
	manifest, blob pullchain.Request
}

// forget drops what turned out to be gone: it proves nothing any more.
func (c *canary) forget(req pullchain.Request) {
	if req.Digest == c.manifest.Digest {
		c.manifest = pullchain.Request{}
	}
	if req.Digest == c.blob.Digest {
		c.blob = pullchain.Request{}
	}
}

// of returns the canary request for class, if there is one.
func (c *canary) of(class pullchain.Class) (pullchain.Request, bool) {
	req := &c.manifest
	if class == pullchain.ClassBlob {
		req = &c.blob
	}
	return *req, req.Op != 0
}

// remember keeps req, which the lane has served, as a canary request.
func (l *Lane) remember(req pullchain.Request, resp pullchain.Response) {
	if resp.Digest == "" || req.Registry == "" || pullchain.IsHolder(resp.Login) { // of what took a client's login the prober would be refused
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	again := pullchain.Request{Op: req.Op, Registry: req.Registry, Repo: req.Repo, Digest: resp.Digest}
	switch {
	case req.Op == pullchain.Manifest:
		again.Head, again.Accept, again.Options.HeadersOnly = true, req.Accept, true
		l.canary.manifest = again
	case req.Op == pullchain.Blob && !req.Head:
		again.Range = pullchain.Range{To: 1}
		l.canary.blob = again
	}
}

// Probe asks whether a registry is there at all, and, where a gate waits for
// it, whether it still serves what it served before. The error is that of the
// first question. It is a prober's to call, at any time.
func (l *Lane) Probe(ctx context.Context) error {
	defer l.changed()
	began := time.Now()
	if l.adminState(began) == Disabled {
		return errNotProbed{}
	}
	if c := l.cfg.Egress.view(); c.at(began) && c.cause.Code == pullchain.CodeEgressAuth {
		return c.cause // a refused login is not tried anew by every lane's prober
	}
	if v := l.view(); v.leftAlone(began) {
		return nil // it has answered, and asking on would extend its ban (docs/faults.md F09)
	}
	l.load.hearing.ask()
	err := l.up.Ping(ctx)
	l.load.hearing.over(err)
	if e, ok := errorsAs(err); ok {
		switch e.Reason {
		case pullchain.Egress:
			l.cfg.Egress.fail(e)
		case pullchain.Limited: // it is there, and wants to be left alone
			l.closeFor(e)
			return nil
		case pullchain.Denied: // it is there, and wants a login that pulls have or have not
			err = nil
		}
		if e.Code == pullchain.CodeNoDescriptors {
			return errNotProbed{} // it is we that could not ask
		}
	}
	if err != nil {
		return err
	}
	l.cfg.Egress.ok(began)
	l.mu.Lock()
	l.past.proved = true
	if l.canary.manifest.Op == 0 {
		l.gates.failback.success(time.Now()) // it has served nothing yet that could be asked for again
	}
	l.mu.Unlock()
	l.prove(ctx)
	renewQuota(ctx, l)
	return nil
}

// errNotProbed is what a Probe returns that was not made, because the operator wants none.
// Package healthcheck knows it by its method, and counts nothing.
type errNotProbed struct{}

// Error says why there was no probe.
func (errNotProbed) Error() string { return "not probed: the operator has disabled it" }

// Skipped tells a prober that nothing was asked.
func (errNotProbed) Skipped() bool { return true }

// leftAlone reports whether the upstream wants no request of any class for now: it named the
// time, or it is a guard against abuse, whose ban each question may extend.
func (v *gateView) leftAlone(now time.Time) bool {
	return !slices.ContainsFunc(dataClasses, func(class pullchain.Class) bool {
		cool := &v.cooldowns[class]
		return !cool.boundAt(now) && !(cool.at(now) && cool.cause.Assumed)
	})
}

// closeFor closes the cooldown gates that a probe's answer speaks of. A guard against abuse
// that stands before /v2/ stands before all (docs/protocol.md 4.1). But it binds only where it
// names a time: it may stand before /v2/ alone, and the next probe would shut the last lane
// again and again.
func (l *Lane) closeFor(e *pullchain.Error) {
	reach := e.Reach
	if e.Code == pullchain.CodeAbuse {
		reach = pullchain.ReachLane
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.past.lastError, l.past.lastFailed = e, time.Now()
	for _, class := range reachClasses(reach, pullchain.ClassManifest) {
		l.gates.cooldowns[class].close(time.Now(), e, !e.Assumed)
	}
}

// prove takes the trials that are due: of half-open breakers, of cooldowns
// whose end was guessed, and of a lane that has yet to prove itself.
func (l *Lane) prove(ctx context.Context) {
	for _, class := range dataClasses {
		l.mu.Lock()
		req, ok := l.canary.of(class)
		l.mu.Unlock()
		if v := l.view(); !ok || !v.trialDue(class, time.Now()) {
			continue
		}
		a, _ := l.admit(req, true, false)
		if a == nil {
			continue
		}
		a.end(l.try(ctx, req))
	}
}

// try fetches req and throws it away. A HEAD may pass where the quota is spent, and
// its headers say so (docs/protocol.md 4.1): then the next GET would be refused.
func (l *Lane) try(ctx context.Context, req pullchain.Request) error {
	resp, err := l.up.Fetch(ctx, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if q := resp.Quota; q.Spent() {
		return &pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, Upstream: l.Name(), Quota: q}
	}
	if req.Op == pullchain.Blob {
		_, err = io.CopyN(io.Discard, resp.Body, 1)
	}
	return err
}

// trialDue reports whether the prober is to try class: what waits for it to look, and
// nothing else, since each try is a request that no client needs.
func (v *gateView) trialDue(class pullchain.Class, now time.Time) bool {
	if word := v.breakers[class].word(now); word != breakerClosed {
		return word == breakerHalfOpen
	}
	cool := &v.cooldowns[class]
	if cool.at(now) {
		return false
	}
	return cool.trial || class == pullchain.ClassManifest && v.failback.holds(now)
}

// Pace tells a prober how often to look: quiet while real traffic proves the
// lane, urgent while a gate waits for the prober or traffic has just failed.
func (l *Lane) Pace() (quiet, urgent bool) {
	now := time.Now()
	v := l.view()
	if v.admin.at(now) == Disabled { // its prober comes by, and is sent away
		return false, false
	}
	// Token gates are not the prober's to open: they wait for a pull that needs one.
	for _, class := range dataClasses {
		cool := &v.cooldowns[class]
		urgent = urgent || v.breakers[class].tripped || cool.trial && !cool.at(now)
	}
	urgent = urgent || v.failback.holds(now) || v.dialBackoff.at(now) || v.probe != nil && (v.probe.down || v.probe.err != nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	served := l.past.last()
	proven := now.Sub(served) < provenFor && served.After(l.past.lastFailed)
	return proven && !urgent, urgent
}

// provenFor is how long an answer stands for a probe.
const provenFor = 15 * time.Second
