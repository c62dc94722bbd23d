package metrics

import (
	"net/netip"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/healthcheck"
)

var (
	requests    = counter("upstream_requests_total", "Requests to an upstream by how they ended. A body that the cache finds wrong counts once more, as that.", "registry", "upstream", "kind", "outcome")
	ttfb        = histogram("upstream_ttfb_seconds", "Until an upstream answered; answers only.", "registry", "upstream", "kind")
	received    = counter("upstream_received_bytes_total", "Bytes of content from an upstream.", "registry", "upstream")
	inFlight    = gauge("upstream_in_flight_requests", "Requests to an upstream that are under way, bodies with them.", "registry", "upstream")
	queued      = gauge("upstream_queued_requests", "Requests that wait for one of our own connections to an upstream to come free.", "registry", "upstream")
	state       = gauge("upstream_state", "1 for the state that an upstream is in, 0 for the others.", "registry", "upstream", "state")
	eligible    = gauge("upstream_eligible", "Whether no gate keeps an upstream from being asked for a manifest: 0 or 1.", "registry", "upstream")
	serving     = gauge("upstream_serving", "Whether an upstream is the one that is asked for a tag first: 0 or 1.", "registry", "upstream")
	order       = gauge("upstream_order", "Place in the chain, from 1.", "registry", "upstream")
	since       = gauge("upstream_state_since_timestamp_seconds", "Since when an upstream is in its state.", "registry", "upstream")
	lastSuccess = gauge("upstream_last_success_timestamp_seconds", "When an upstream served last.", "registry", "upstream")
	breakers    = counter("breaker_transitions_total", "Breakers of an upstream that opened, or closed after trials that went well.", "registry", "upstream", "to")
	limit       = gauge("ratelimit_limit", "The quota that an upstream tells of.", "registry", "upstream", "source")
	remaining   = gauge("ratelimit_remaining", "What is left of it.", "registry", "upstream", "source")
	window      = gauge("ratelimit_window_seconds", "The time that it is for.", "registry", "upstream", "source")
	observed    = gauge("ratelimit_observed_timestamp_seconds", "When it was told.", "registry", "upstream", "source")
	rateLimited = counter("rate_limited_total", "Requests that an upstream refused for their number.", "registry", "upstream", "cause")
	tlsExpiry   = gauge("upstream_tls_expiry_timestamp_seconds", "When the certificate of an upstream expires.", "registry", "upstream")
	probesTotal = counter("probes_total", "Probes by result; reason is a code, empty for those that passed.", "registry", "upstream", "result", "reason")
	probeTook   = histogram("probe_duration_seconds", "How long probes took.", "registry", "upstream")
)

// lane sends all of one upstream. Every state is sent, so that a query for one that the
// upstream is not in finds 0 and not nothing.
func (out series) lane(registry string, l *balancer.LaneSnapshot) {
	name := l.Upstream
	for _, s := range balancer.States {
		out.flag(state, l.State == s, registry, name, s)
	}
	out.flag(eligible, l.Eligible, registry, name)
	out.flag(serving, l.First, registry, name)
	out.number(order, float64(l.Order), registry, name)
	out.moment(since, l.Since, registry, name)
	out.moment(lastSuccess, l.LastServed, registry, name)
	out.number(inFlight, float64(l.InFlight), registry, name)
	out.number(queued, float64(l.Queued), registry, name)
	out.moment(tlsExpiry, l.TLSExpiry, registry, name)
	out.number(received, float64(l.Counts.Received), registry, name)
	out.number(breakers, float64(l.Counts.BreakersOpened), registry, name, "open")
	out.number(breakers, float64(l.Counts.BreakersClosed), registry, name, "closed")
	for key, n := range requestCounts(l.Counts.Requests) {
		out.number(requests, float64(n), registry, name, key[0], key[1])
	}
	// Answers alone: how long a failure took says nothing of how fast the upstream is.
	for class, h := range l.Counts.TTFB {
		out.buckets(ttfb, h.Bounds, h.Counts, h.SumS, registry, name, class)
	}
	// Summed over the classes, since the limits of registries are.
	for code, cause := range causes {
		var n uint64
		for _, c := range l.Classes {
			n += c.Outcomes[code]
		}
		out.number(rateLimited, float64(n), registry, name, cause)
	}
	// Where nothing was said of a quota there is none to draw: 0 left would alarm.
	if q := l.Quota; q != nil {
		of := quotaSource(q.Source)
		out.number(limit, float64(q.Limit), registry, name, of)
		out.number(remaining, float64(q.Remaining), registry, name, of)
		out.number(window, float64(q.WindowS), registry, name, of)
		out.moment(observed, &q.At, registry, name, of)
	}
}

// causes are the words for the limits that upstreams have.
var causes = map[pullchain.Code]string{
	pullchain.CodeQuota:       "quota",
	pullchain.CodeAbuse:       "abuse",
	pullchain.CodeThrottle:    "throttle",
	pullchain.CodeWorkerQuota: "worker_quota",
}

// quotaSource says whose quota it is. An upstream names an address or an account, and
// names of accounts are no labels.
func quotaSource(said string) string {
	if said == "" {
		return "unknown"
	}
	if _, err := netip.ParseAddr(said); err == nil {
		return "ip"
	}
	if _, err := netip.ParsePrefix(said); err == nil {
		return "ip"
	}
	return "account"
}

// probes sends how the probes of one upstream went. A failure without a code has the
// word of the daemon for that.
func (out series) probes(registry string, p *healthcheck.TargetSnapshot) {
	c := &p.Counts
	out.number(probesTotal, float64(c.Passed), registry, p.Name, "pass", "")
	for kind, n := range c.Failed {
		out.number(probesTotal, float64(n), registry, p.Name, "fail", kind)
	}
	out.buckets(probeTook, healthcheck.Bounds[:], c.Took[:], c.TookS, registry, p.Name)
}
