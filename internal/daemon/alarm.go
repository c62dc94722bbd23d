package daemon

import (
	"context"
	"slices"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/snooze"
)

// alarming are the codes of failures that may be everyone's: a network that is gone, a
// name service that answers nothing, a portal, a clock. Of a proxy all lanes behind it
// know by the gate that they share.
var alarming = []pullchain.Code{
	pullchain.CodeDNS, pullchain.CodeConnRefused, pullchain.CodeConnTimeout, pullchain.CodeNotRegistry, pullchain.CodeTLSCert,
}

// alarmEvery is how often an alarm is given at the most. A lane that comes and goes must
// not have all others probed each time: each alarm that follows soon upon another doubles
// the pause after it, up to alarmMax.
const (
	alarmEvery = 3 * time.Second
	alarmMax   = 5 * time.Minute
)

// watchForAlarms has the lanes of all other registries probed at once when one lane fails
// in a way that may be all of theirs, so that a cause is known in the time that it takes
// to try, and not when the slowest of the schedules comes round. The lanes of the same
// registry are asked by the pull itself. It returns when ctx is done.
func (d *Daemon) watchForAlarms(ctx context.Context) {
	events := d.chain.Load().events // those of the first chain go on with each reload
	_, seq, _ := events.Since(0)
	var last time.Time
	gap := alarmEvery
	for events.Wait(ctx, seq) == nil {
		if !snooze.For(ctx, time.Until(last.Add(gap))) {
			return
		}
		var news []balancer.Event
		news, seq, _ = events.Since(seq)
		alarmed := map[string]bool{}
		for _, ev := range news {
			if isAlarm(ev) && !d.chain.Load().registryNamed(ev.Registry).asked.madeUp() {
				alarmed[ev.Registry] = true
			}
		}
		if now := time.Now(); len(alarmed) > 0 {
			if gap = min(2*gap, alarmMax); now.Sub(last) > 2*alarmMax {
				gap = alarmEvery
			}
			last = now
		}
		for _, r := range d.chain.Load().registries {
			if len(alarmed) > 0 && !alarmed[r.name] {
				r.checker.Hurry()
			}
		}
	}
}

// silentFor is how long nothing must have been heard of a lane that is waited for, for the
// others to be looked at.
const silentFor = time.Second

// watchForSilence has the lanes of all other registries probed when one that was well has
// fallen silent: a network that drops packets gives no error for as long as a dial
// lasts. What the probes find is told apart by internal/diagnose, and what they have not
// found yet as well. It returns when ctx is done.
func (d *Daemon) watchForSilence(ctx context.Context) {
	var last time.Time
	gap := alarmEvery
	for snooze.For(ctx, silentFor/2) {
		now := time.Now()
		if now.Sub(last) < gap {
			continue
		}
		c := d.chain.Load()
		silent := map[string]bool{}
		for id, p := range c.paths {
			if balancer.FallenSilent(p.lane, silentFor) {
				silent[id.registry] = true
			}
		}
		if len(silent) == 0 {
			if now.Sub(last) > 2*alarmMax {
				gap = alarmEvery
			}
			continue
		}
		gap, last = min(2*gap, alarmMax), now
		for _, r := range c.registries {
			if !silent[r.name] {
				r.checker.Hurry()
			}
		}
	}
}

// isAlarm reports whether a lane has just gone bad for a reason that may be everyone's.
func isAlarm(ev balancer.Event) bool {
	return ev.Kind == balancer.KindTransition && ev.To != balancer.StateHalfOpen && slices.Contains(alarming, ev.Code)
}
