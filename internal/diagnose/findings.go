package diagnose

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/healthcheck"
)

// findings is what the rules work on: every lane with what is wrong with it now.
type findings struct {
	Input
	lanes []*lane
}

// A lane is one upstream of a registry.
type lane struct {
	*balancer.LaneSnapshot
	registry *Registry
	probe    healthcheck.TargetSnapshot

	trouble pullchain.Code // what is wrong with it now; empty if nothing is known to be
	since   time.Time      // how long it has been so
	claimed bool           // a warning tells of it
	proxied bool           // its egress is a proxy, and not only an address or a family of ours
}

// recent is how long a failed request counts as trouble when nothing has been asked of
// the lane since. Probes come more often.
const recent = 10 * time.Minute

func newFindings(in Input) *findings {
	f := &findings{Input: in}
	for i := range in.Registries {
		r := &in.Registries[i]
		for j := range r.Lanes {
			l := &lane{LaneSnapshot: &r.Lanes[j], registry: r}
			l.proxied = slices.ContainsFunc(in.Egresses, func(e Egress) bool { return e.Name == l.Via })
			if k := slices.IndexFunc(r.Probes, func(p healthcheck.TargetSnapshot) bool { return p.Name == l.Upstream }); k >= 0 {
				l.probe = r.Probes[k]
			}
			l.look(in.Now)
			f.lanes = append(f.lanes, l)
		}
	}
	return f
}

// look works out what is wrong with the lane: why its gate is closed or its probe fails,
// else its last failure if nothing has gone well since.
func (l *lane) look(now time.Time) {
	if l.out() {
		return
	}
	e := l.LastError
	switch {
	case l.Code != "" && !l.disproved():
		l.trouble, l.since = l.Code, timeOr(l.Since, now)
	case e != nil && now.Sub(e.At) < recent && (l.LastOK == nil || l.LastOK.Before(e.At)):
		l.trouble, l.since = e.Code, e.At
	default:
		return
	}
	if first := failingSince(l.probe); !first.IsZero() && first.Before(l.since) {
		l.since = first
	}
}

// disproved reports whether the lane is only called degraded for a probe that failed, and
// has served since.
func (l *lane) disproved() bool {
	h := l.probe.History
	return l.State == balancer.StateDegraded && len(l.Gates) == 0 && l.LastOK != nil && len(h) > 0 && h[len(h)-1].At.Before(*l.LastOK)
}

// out reports whether the operator has taken the lane out: nothing is asked of it.
func (l *lane) out() bool {
	return l.State == balancer.StateDrained || l.State == balancer.StateDisabled
}

// judged reports whether anything is known of the lane.
func (l *lane) judged() bool { return l.trouble != "" || l.LastOK != nil }

// direct reports whether this machine itself connects to the upstream.
func (l *lane) direct() bool { return !l.proxied }

// hostname is the upstream's host without its port.
func (l *lane) hostname() string {
	if i := strings.LastIndexByte(l.Host, ':'); i > strings.LastIndexByte(l.Host, ']') {
		return strings.Trim(l.Host[:i], "[]")
	}
	return strings.Trim(l.Host, "[]")
}

// named reports whether the host is a name, which has to be resolved.
func (l *lane) named() bool {
	_, err := netip.ParseAddr(l.hostname())
	return err != nil && l.hostname() != ""
}

// path is the lane's name, as in docker.io/docker-hub.
func (l *lane) path() string { return l.registry.Registry + "/" + l.Upstream }

// text is the text of what went wrong last.
func (l *lane) text() string {
	if l.Error != "" {
		return l.Error
	}
	if l.LastError != nil {
		return l.LastError.Text
	}
	return ""
}

// failingSince is when the first of the failures began that a target's last probes are
// an unbroken row of; zero if its last probe passed.
func failingSince(p healthcheck.TargetSnapshot) time.Time {
	if p.Falling == 0 || len(p.History) == 0 {
		return time.Time{}
	}
	row := min(p.Falling, len(p.History))
	for i := len(p.History) - 1; i >= len(p.History)-row; i-- {
		if p.History[i].OK() { // what lies before is older than what is remembered of it
			row = len(p.History) - 1 - i
			break
		}
	}
	if row == 0 {
		return time.Time{}
	}
	return p.History[len(p.History)-row].At
}

// where returns the lanes that nothing tells of yet and that pass.
func (f *findings) where(pass func(*lane) bool) []*lane {
	var out []*lane
	for _, l := range f.lanes {
		if !l.claimed && !l.out() && pass(l) {
			out = append(out, l)
		}
	}
	return out
}

// hasTrouble reports whether the lane's trouble is one of codes.
func (l *lane) hasTrouble(codes ...pullchain.Code) bool { return slices.Contains(codes, l.trouble) }

// hosts returns the different hosts of lanes, in their order.
func hosts(lanes []*lane) []string {
	var out []string
	for _, l := range lanes {
		if !slices.Contains(out, l.Host) {
			out = append(out, l.Host)
		}
	}
	return out
}

// registries returns the different registries of lanes, in their order.
func registries(lanes []*lane) []string {
	var out []string
	for _, l := range lanes {
		if !slices.Contains(out, l.registry.Registry) {
			out = append(out, l.registry.Registry)
		}
	}
	return out
}

func paths(lanes []*lane) []string {
	out := []string{}
	for _, l := range lanes {
		out = append(out, l.path())
	}
	return out
}

// earliest is since when the first of lanes has had its trouble.
func earliest(lanes []*lane) time.Time {
	var first time.Time
	for _, l := range lanes {
		if first.IsZero() || l.since.Before(first) {
			first = l.since
		}
	}
	return first
}

// root returns the warning that tells of lanes, and claims them. It is critical if a
// registry has no other lane that works.
func (f *findings) root(code, subject string, lanes []*lane, values map[string]string, fix string) Warning {
	for _, l := range lanes {
		l.claimed = true
	}
	w := Warning{ID: id(code, subject), Code: code, Severity: Degraded, Since: earliest(lanes), Affects: paths(lanes), Values: values, Fix: fix}
	if w.Values == nil {
		w.Values = map[string]string{}
	}
	for _, name := range w.Registries() {
		if f.stuck(name) {
			w.Severity = Critical
		}
	}
	return w
}

// stuck reports whether nothing can be pulled from a registry: all lanes that may say
// what a tag names are out, in trouble, or told of by a warning.
func (f *findings) stuck(registry string) bool {
	for _, l := range f.lanes {
		if l.registry.Registry == registry && l.Trust == "resolve" && !l.claimed && works[l.State] {
			return false
		}
	}
	return true
}

// works are the states of lanes that may be asked.
var works = map[string]bool{
	balancer.StateServing: true, balancer.StateStandby: true, balancer.StateDegraded: true, balancer.StateUnknown: true,
}

func id(code, subject string) string {
	if subject == "" {
		return code
	}
	return code + ":" + subject
}

func timeOr(t *time.Time, other time.Time) time.Time {
	if t == nil {
		return other
	}
	return *t
}
