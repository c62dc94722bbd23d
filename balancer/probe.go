package balancer

import (
	"context"
	"io"
	"time"

	"github.com/pullchain/pullchain"
)

// evidence is what a lane last served: requests that the prober can repeat to
// prove the data plane, each of which costs nothing. A manifest is asked for by
// HEAD, which Docker Hub does not count, a blob for its first byte.
type evidence struct {
	manifest, blob pullchain.Request
}

// forget drops what turned out to be gone: it proves nothing any more.
func (e *evidence) forget(req pullchain.Request) {
	if req.Digest == e.manifest.Digest {
		e.manifest = pullchain.Request{}
	}
	if req.Digest == e.blob.Digest {
		e.blob = pullchain.Request{}
	}
}

// remember keeps req, which the lane has served, as evidence.
func (l *Lane) remember(req pullchain.Request, resp pullchain.Response) {
	if resp.Digest == "" || req.Registry == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	proof := pullchain.Request{Op: req.Op, Registry: req.Registry, Repo: req.Repo, Digest: resp.Digest}
	switch {
	case req.Op == pullchain.Manifest:
		proof.Head, proof.Accept = true, req.Accept
		l.evidence.manifest = proof
	case req.Op == pullchain.Blob && !req.Head:
		proof.Range = pullchain.Range{To: 1}
		l.evidence.blob = proof
	}
}

// proofOf returns the request that would prove class to work, if there is one.
func (e *evidence) proofOf(class pullchain.Class) (pullchain.Request, bool) {
	req := e.manifest
	if class == pullchain.ClassBlob {
		req = e.blob
	}
	return req, req.Op != 0
}

// proberTakesTrial reports whether the prober has what it needs to take a
// half-open breaker's trial, so that no user has to.
func (l *Lane) proberTakesTrial(class pullchain.Class) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.proberTakesTrialLocked(class)
}

func (l *Lane) proberTakesTrialLocked(class pullchain.Class) bool {
	_, ok := l.evidence.proofOf(class)
	return ok && l.verdict.known
}

// Probe asks whether a registry is there at all, and, where a gate waits for
// it, whether it still serves what it served before. The error is that of the
// first question. It is a prober's to call, at any time.
func (l *Lane) Probe(ctx context.Context) error {
	began := time.Now()
	if _, err := l.cfg.Egress.shut(began); pullchain.CodeOf(err) == pullchain.CodeEgressAuth {
		return err // a refused login is not knocked at by every lane's prober
	}
	if l.leftAlone(began) {
		return nil // disabled, or it has answered, and asking on would extend its ban (FAULTS.md F09)
	}
	err := l.up.Ping(ctx)
	if e, ok := errorsAs(err); ok {
		switch e.Reason {
		case pullchain.Egress:
			l.cfg.Egress.fail(e)
		case pullchain.Limited: // it is there, and wants to be left alone
			l.shutFor(e)
			return nil
		case pullchain.Denied: // it is there, and wants a login that pulls have or have not
			err = nil
		}
	}
	if err != nil {
		return err
	}
	l.cfg.Egress.ok(began)
	l.mu.Lock()
	l.quarantine.lift()
	if l.evidence.manifest.Op == 0 {
		l.latch.success(time.Now()) // it has served nothing yet that could be asked for again
	}
	l.mu.Unlock()
	l.prove(ctx)
	return nil
}

// leftAlone reports whether the operator wants no probes, or the upstream itself
// named a time before which it wants no request of any class.
func (l *Lane) leftAlone(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wish == Disabled {
		return true
	}
	manifest, blob := &l.cooldowns[pullchain.ClassManifest], &l.cooldowns[pullchain.ClassBlob]
	return manifest.asked && manifest.cooling(now) && blob.asked && blob.cooling(now)
}

// shutFor shuts the cooldown gates that a probe's answer speaks of.
func (l *Lane) shutFor(e *pullchain.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastError, l.lastFailed = e, time.Now()
	for _, class := range scopeClasses(e.Scope, pullchain.ClassManifest) {
		l.cooldowns[class].shut(time.Now(), e)
	}
}

// prove takes the trials that are due: of half-open breakers, of cooldowns
// whose end was guessed, and of a lane that has yet to prove itself.
func (l *Lane) prove(ctx context.Context) {
	for _, class := range dataClasses {
		l.mu.Lock()
		req, ok := l.evidence.proofOf(class)
		l.mu.Unlock()
		if !ok || !l.trialDue(class, time.Now()) {
			continue
		}
		c, _ := l.begin(req, true, false)
		if c == nil {
			continue
		}
		c.end(l.try(ctx, req))
	}
}

// try fetches req and throws it away.
func (l *Lane) try(ctx context.Context, req pullchain.Request) error {
	resp, err := l.up.Fetch(ctx, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if q := resp.Quota; q != nil && q.Limit > 0 && q.Remaining == 0 {
		return &pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, Upstream: l.Name(), Quota: q}
	}
	if req.Op == pullchain.Blob {
		_, err = io.CopyN(io.Discard, resp.Body, 1)
	}
	return err
}

func (l *Lane) trialDue(class pullchain.Class, now time.Time) bool {
	state := l.breakers[class].state(now).word
	if state != closed {
		return state == halfOpen
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	cool := &l.cooldowns[class]
	if cool.cooling(now) {
		return false
	}
	return cool.trial || class == pullchain.ClassManifest && !l.latch.settled(now)
}

// Pace tells a prober how often to look: quiet while real traffic proves the
// lane, urgent while a gate waits for the prober or traffic has just failed.
func (l *Lane) Pace() (quiet, urgent bool) {
	now := time.Now()
	// Token gates are not the prober's to open: they wait for a pull that needs one.
	for _, class := range dataClasses {
		urgent = urgent || l.breakers[class].state(now).word != closed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wish == Disabled {
		return true, false
	}
	for _, class := range dataClasses {
		cool := &l.cooldowns[class]
		urgent = urgent || cool.trial && !cool.cooling(now)
	}
	urgent = urgent || l.verdict.down || l.verdict.err != nil || !l.latch.settled(now) || now.Before(l.hold.until)
	served := l.lastServed[pullchain.ClassManifest]
	if blob := l.lastServed[pullchain.ClassBlob]; blob.After(served) {
		served = blob
	}
	proven := now.Sub(served) < provenFor && served.After(l.lastFailed)
	return proven && !urgent, urgent
}

// provenFor is how long an answer stands for a probe.
const provenFor = 15 * time.Second
