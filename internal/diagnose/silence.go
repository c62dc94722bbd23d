package diagnose

import (
	"slices"
	"strconv"
	"time"

	"github.com/pullchain/pullchain/balancer"
)

// silentAfter is how long nothing must have been heard of a lane that is waited for: a
// probe of a registry on another continent takes a third of it.
const silentAfter = 1500 * time.Millisecond

// justNow is how long before something else fell silent a failure may have begun that is to
// have the same cause.
const justNow = 10 * time.Second

// silentFor is how long nothing has been heard of the lane while something waits for it.
func (l *lane) silentFor(now time.Time) time.Duration {
	if l.SilentSince == nil || l.trouble != "" {
		return 0
	}
	return now.Sub(*l.SilentSince)
}

// silence finds the ways out on which nothing answers: a network, or a proxy, that drops
// packets. A dial into it fails after five seconds and a probe after its time-out; until
// then this tells that nothing is heard, and of what, under the code that it will have.
// It claims no lane, makes none of them out of order, and is over with the first answer.
func silence(f *findings) []Warning {
	var out []Warning
	for _, via := range f.ways() {
		silent := f.where(func(l *lane) bool { return l.Via == via && l.silentFor(f.Now) >= silentAfter })
		if len(silent) == 0 {
			continue
		}
		first := f.Now
		for _, l := range silent {
			if l.SilentSince.Before(first) {
				first = *l.SilentSince
			}
		}
		// What is not asked now says nothing; what was heard since then says that it works.
		if slices.ContainsFunc(f.lanes, func(l *lane) bool { return l.Via == via && l.Heard != nil && l.Heard.After(first) }) {
			continue
		}
		w := Warning{Severity: Degraded, Since: first, Unproved: true, Values: map[string]string{"silent_s": strconv.Itoa(int(f.Now.Sub(first).Seconds()))}}
		e := slices.IndexFunc(f.Egresses, func(e Egress) bool { return e.Name == via })
		// What has failed for longer has another reason.
		suffering := append(silent, f.where(func(l *lane) bool {
			return l.Via == via && l.hasTrouble(unreached...) && first.Sub(l.since) < justNow
		})...)
		switch {
		case silent[0].direct() && len(hosts(suffering)) >= 3: // as in noNetwork
			w.ID, w.Code, w.Fix = NoNetwork, NoNetwork, routeOut
		case e >= 0 && f.Egresses[e].State != balancer.EgressDown && len(hosts(silent)) >= 2:
			proxy := f.Egresses[e]
			w.ID, w.Code, w.Fix = id(EgressDown, via), EgressDown, tryProxy(proxy.URL)
			w.Values["egress"], w.Values["kind"], w.Values["url"] = via, kind(proxy.URL), proxy.URL
		default:
			continue
		}
		w.Affects = paths(suffering)
		out = append(out, w)
	}
	return out
}
