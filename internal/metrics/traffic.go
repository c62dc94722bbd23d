package metrics

import (
	"strconv"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/traffic"
)

var (
	httpRequests = counter("http_requests_total", "Requests of clients that are over. registry is empty for those that named none of ours; code is 499 where the client went away.", "registry", "kind", "method", "code", "cache")
	httpTTFB     = histogram("http_request_ttfb_seconds", "Until the headers of an answer went out.", "registry", "kind", "cache")
	httpDuration = histogram("http_request_duration_seconds", "Until an answer was over.", "registry", "kind", "cache")
	httpBytes    = counter("http_response_bytes_total", "Bytes of bodies that went to clients, by where they came from: cache, or upstream.", "registry", "kind", "source")
	httpInFlight = gauge("http_in_flight_requests", "Requests of clients that are under way.", "kind")
	httpRefused  = counter("http_refused_total", "Requests that were answered 503 since as many were served as may be: client, as this one had many, or all.", "reason")
	clientCount  = counter("client_requests_total", "Requests by the family of clients and how they named the registry.", "client", "form")
	clientSeen   = gauge("client_last_seen_timestamp_seconds", "When such a request came last.", "client", "form")
	pullsActive  = gauge("pulls_active", "Images that are being pulled.", "registry")
	pullsTotal   = counter("pulls_total", "Images that were pulled: done, or failed.", "registry", "result")
)

// traffic sends what clients asked for and got.
func (out series) traffic(c *traffic.Counts, s *admin.Snapshot) {
	// What a reload has taken away is of no interest any more.
	configured := func(registry string) bool { return registry == "" || s.Find(registry) != nil }
	for _, r := range c.Requests {
		if configured(r.Registry) {
			out.number(httpRequests, float64(r.N), r.Registry, r.Kind, r.Method, codeWord(r.Code), r.Cache)
		}
	}
	for i := range c.Timings {
		if t := &c.Timings[i]; configured(t.Registry) {
			out.buckets(httpTTFB, t.TTFB.Bounds, t.TTFB.Counts, t.TTFB.Sum, t.Registry, t.Kind, t.Cache)
			out.buckets(httpDuration, t.Duration.Bounds, t.Duration.Counts, t.Duration.Sum, t.Registry, t.Kind, t.Cache)
		}
	}
	for _, b := range c.Bytes {
		if configured(b.Registry) {
			out.number(httpBytes, float64(b.N), b.Registry, b.Kind, b.Source)
		}
	}
	for kind, n := range c.InFlight {
		out.number(httpInFlight, float64(n), kind)
	}
	for why, n := range c.Refused {
		out.number(httpRefused, float64(n), string(why))
	}
	for _, f := range c.Clients {
		out.number(clientCount, float64(f.N), f.Family, formWord(f.Form))
		out.moment(clientSeen, &f.Last, f.Family, formWord(f.Form))
	}
	out.pulls(c.Pulls, s)
}

// pulls sends those of every registry that there is: one without any has 0 of them.
func (out series) pulls(pulls []traffic.PullCount, s *admin.Snapshot) {
	of := make(map[string]traffic.PullCount, len(pulls))
	for _, p := range pulls {
		of[p.Registry] = p
	}
	for i := range s.Registries {
		name := s.Registries[i].Registry
		out.number(pullsActive, float64(of[name].Active), name)
		out.number(pullsTotal, float64(of[name].Done), name, "done")
		out.number(pullsTotal, float64(of[name].Failed), name, "failed")
	}
}

// codeWord is a status as a label. One that is no status of HTTP is "other".
func codeWord(code int) string {
	if code == 0 {
		return "other"
	}
	return strconv.Itoa(code)
}

// formWord is how a client named the registry; a request for none, as the version
// check is, has no form.
func formWord(form string) string {
	if form == "" {
		return "none"
	}
	return form
}
