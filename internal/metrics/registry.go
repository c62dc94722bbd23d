package metrics

import (
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/messages"
)

var (
	available = gauge("registry_available", "Whether some upstream may be asked for a tag and has been seen to work since the start: 0 or 1.", "registry")
	degraded  = gauge("registry_degraded", "Whether the chain is worth a look, or cannot be pulled from: 0 or 1.", "registry")
	exhausted = counter("chain_exhausted_total", "Requests that no upstream could answer, and for which there was nothing to fall back on.", "registry", "kind")
	failovers = counter("failovers_total", "Requests that another upstream answered than the first one asked.", "registry", "from", "to", "reason", "phase")
	added     = histogram("failover_added_seconds", "From the first try to the one that served.", "registry", "phase")
	resumes   = counter("blob_resumes_total", "Blobs that went on in the middle, from the same upstream or another.", "registry")
	resumed   = counter("blob_resumed_bytes_total", "Bytes that did not have to be fetched again, as the blob went on.", "registry")
	hedges    = counter("hedges_total", "Attempts that were begun beside one that kept waiting.", "registry", "result")
)

// registry sends all of one chain and of its upstreams, in the order of the snapshot:
// Prometheus sorts.
func (out series) registry(r *admin.Registry, now time.Time) {
	name, c := r.Registry, &r.Counts
	out.flag(available, admin.Standing(r.Snapshot) == admin.Pullable, name)
	out.flag(degraded, admin.RemarkIn(messages.In(messages.English), r.Snapshot, now) != "", name)
	for _, k := range c.ExhaustedKinds {
		out.number(exhausted, float64(k.N), name, k.Kind)
	}
	for _, f := range c.Failovers {
		out.number(failovers, float64(f.N), name, f.From, f.To, string(f.Code), f.Phase)
	}
	for phase, h := range c.FailoverAdded {
		out.buckets(added, h.Bounds, h.Counts, h.SumS, name, phase)
	}
	out.number(resumes, float64(c.Resumes), name)
	out.number(resumed, float64(c.ResumedBytes), name)
	out.number(hedges, float64(c.HedgesWon), name, "won")
	out.number(hedges, float64(c.HedgesLost), name, "lost")
	out.number(hedges, float64(c.HedgesFailed), name, "failed")
	for i := range r.Lanes {
		out.lane(name, &r.Lanes[i])
	}
	for i := range r.Probes {
		out.probes(name, &r.Probes[i])
	}
}

// requestCounts are the counts of a lane, with two outcomes that are there before there is
// anything to count: an alert on an increase sees none in a series that begins with 1.
func requestCounts(counts []balancer.RequestCount) map[[2]string]uint64 {
	all := make(map[[2]string]uint64, len(counts)+4)
	for _, kind := range []string{"manifest", "blob"} {
		all[[2]string{kind, balancer.OutcomeOK}] = 0
		all[[2]string{kind, balancer.OutcomeDigestMismatch}] = 0
	}
	for _, c := range counts {
		all[[2]string{c.Kind, c.Outcome}] = c.N
	}
	return all
}
