package diagnose

import (
	"strconv"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
)

// warn returns a warning of one lane.
func (l *lane) warn(code, severity string, since time.Time, values map[string]string, fix string) Warning {
	values["registry"], values["upstream"] = l.registry.Registry, l.Upstream
	return Warning{ID: id(code, l.path()), Code: code, Severity: severity, Since: since, Affects: []string{l.path()}, Values: values, Fix: fix}
}

// limited finds the lanes whose pulls are spent, and those that refuse this address.
func limited(f *findings) []Warning {
	var out []Warning
	for _, l := range f.where(func(l *lane) bool { return l.State == balancer.StateCooling }) {
		values := map[string]string{"until_at": timeOr(l.Until, f.Now).UTC().Format(time.RFC3339)}
		severity := Info
		if f.stuck(l.registry.Registry) {
			severity = Critical
		}
		switch l.Code {
		case pullchain.CodeQuota, pullchain.CodeWorkerQuota:
			out = append(out, l.warn(QuotaSpent, severity, l.since, values, ""))
		case pullchain.CodeAbuse:
			if severity == Info {
				severity = Degraded
			}
			out = append(out, l.warn(AbuseLimited, severity, l.since, values, ""))
		}
	}
	return out
}

// connectionsBusy finds the lanes whose requests wait for one of our own connections. It
// is no fault of the upstream, and so none of its state.
func connectionsBusy(f *findings) []Warning {
	var out []Warning
	for _, l := range f.where(func(l *lane) bool { return l.Queued > 0 }) {
		busy := strconv.FormatInt(l.InFlight-l.Queued, 10)
		values := map[string]string{"busy": busy, "max": strconv.Itoa(l.Connections), "waiting": strconv.FormatInt(l.Queued, 10)}
		out = append(out, l.warn(ConnectionsBusy, Degraded, f.Now, values, ""))
	}
	return out
}

// quotaFor is how long a reading of a quota is believed when it names no window.
const quotaFor = 6 * time.Hour

// quotaLow finds the lanes with few pulls left.
func quotaLow(f *findings) []Warning {
	var out []Warning
	for _, l := range f.where(func(l *lane) bool { return l.Quota != nil && l.State != balancer.StateCooling }) {
		q := l.Quota
		window := time.Duration(q.WindowS) * time.Second
		if window <= 0 {
			window = quotaFor
		}
		if f.Now.Sub(q.At) > window || !(&pullchain.Quota{Limit: q.Limit, Remaining: q.Remaining}).Low() {
			continue
		}
		out = append(out, l.warn(QuotaLow, Info, q.At, map[string]string{
			"left": strconv.Itoa(q.Remaining), "limit": strconv.Itoa(q.Limit), "window_s": strconv.Itoa(int(window.Seconds())),
		}, ""))
	}
	return out
}

// wrongBytesFor is how long an upstream that sent wrong bytes is worth a word.
const wrongBytesFor = 24 * time.Hour

// wrongBytes finds the upstreams that sent what its digest proved wrong. Nothing of it
// reached a client whole; but storage that rots, or a mirror that lies, wants a person.
func wrongBytes(f *findings) []Warning {
	var out []Warning
	for _, l := range f.lanes {
		if l.WrongBytes == nil || f.Now.Sub(*l.WrongBytes) > wrongBytesFor {
			continue
		}
		severity := Degraded
		if l.State == balancer.StateQuarantined { // of several repositories
			severity = Critical
		}
		out = append(out, l.warn(WrongBytes, severity, *l.WrongBytes, map[string]string{"host": l.Host}, ""))
	}
	return out
}

// privateRefused finds the lanes that lead to a private address, which their settings
// forbid. The error names the setting: it is the guard's own (internal/egress).
func privateRefused(f *findings) []Warning {
	var out []Warning
	for _, l := range f.where(func(l *lane) bool {
		return l.hasTrouble(pullchain.CodeRedirectBlocked) && strings.Contains(l.text(), "allow_private")
	}) {
		out = append(out, l.warn(PrivateRefused, Degraded, l.since, map[string]string{}, ""))
	}
	return out
}

// How soon a certificate's end is worth a word, and when a look is due. What renews
// itself has done so by then: Let's Encrypt's do a month before, or at a third of a
// short life.
const (
	certSoon = 14 * 24 * time.Hour
	certNow  = 3 * 24 * time.Hour
)

// certExpiring finds certificates that are soon out of date.
func certExpiring(f *findings) []Warning {
	var out []Warning
	for _, l := range f.where(func(l *lane) bool { return l.TLSExpiry != nil }) {
		left := l.TLSExpiry.Sub(f.Now)
		if left > certSoon {
			continue
		}
		severity := Info
		if left < certNow {
			severity = Degraded
		}
		out = append(out, l.warn(CertExpiring, severity, l.TLSExpiry.Add(-certSoon), map[string]string{
			"host": l.Host, "issuer": l.TLSIssuer, "date": l.TLSExpiry.UTC().Format(time.DateOnly),
		}, ""))
	}
	return out
}
