package admin

import (
	"net/http"
	"strconv"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/healthcheck"
)

// registryRoutes are parts of the snapshot, each at an address of its own.
var registryRoutes = []route{
	{
		method: http.MethodGet, path: "/api/v1/registries", serve: showRegistries,
		doc: doc{id: "registries", about: "All registries, with their upstreams as they stand.", answer: RegistryList{}},
	},
	{
		method: http.MethodGet, path: "/api/v1/registries/{registry}", serve: showRegistry,
		doc: doc{id: "registry", about: "One registry.", answer: OneRegistry{}, problems: []string{"unknown_registry"}},
	},
	{
		method: http.MethodGet, path: "/api/v1/registries/{registry}/upstreams/{upstream}", serve: showUpstream,
		doc: doc{id: "upstream", about: "One upstream of a registry.", answer: OneUpstream{}, problems: []string{"unknown_registry", "unknown_upstream"}},
	},
	{
		method: http.MethodGet, path: "/api/v1/failovers", serve: showFailovers,
		doc: doc{
			id: "failovers", about: "Requests that another upstream answered than the first one asked, the newest first.", answer: FailoverList{},
			query: []param{
				{"since", "string", "only those after this event's number, or after this time (RFC 3339)"},
				{"registry", "string", "only those of this registry"},
				{"limit", "integer", "how many at most; 100 if it is left out"},
			},
			problems: []string{"bad_request"},
		},
	},
	{
		method: http.MethodGet, path: "/api/v1/quota", serve: showQuota,
		doc: doc{id: "quota", about: "How many pulls are left, of every upstream that has said so.", answer: QuotaList{}},
	},
}

// RegistryList answers GET /api/v1/registries.
type RegistryList struct {
	Schema     int        `json:"schema"` // the constant Schema
	Registries []Registry `json:"registries"`
}

// OneRegistry answers GET /api/v1/registries/{registry}.
type OneRegistry struct {
	Schema int `json:"schema"` // the constant Schema
	Registry
}

// OneUpstream answers GET /api/v1/registries/{registry}/upstreams/{upstream}.
type OneUpstream struct {
	Schema int    `json:"schema"`   // the constant Schema
	Name   string `json:"registry"` // whose it is
	balancer.LaneSnapshot
	Probe  *healthcheck.TargetSnapshot `json:"probe"`  // null if it is not probed
	Served []Served                    `json:"served"` // by class; without those of which it served nothing
}

// FailoverList answers GET /api/v1/failovers.
type FailoverList struct {
	Schema    int        `json:"schema"` // the constant Schema
	Seq       uint64     `json:"seq"`    // of the last event: what to ask for those after
	Failovers []Failover `json:"failovers"`
}

// Failover is one of them, with the number of its event.
type Failover struct {
	Seq uint64 `json:"seq"`
	balancer.Failover
}

// QuotaList answers GET /api/v1/quota.
type QuotaList struct {
	Schema int     `json:"schema"` // the constant Schema
	Quotas []Quota `json:"quotas"`
}

// Quota is what one upstream has said.
type Quota struct {
	Registry string `json:"registry"`
	Upstream string `json:"upstream"`
	balancer.QuotaSnapshot
}

func showRegistries(h *handler, w http.ResponseWriter, r *http.Request) {
	answer(w, r, RegistryList{Schema, append([]Registry{}, h.Snapshot().Registries...)})
}

func showRegistry(h *handler, w http.ResponseWriter, r *http.Request) {
	if found := findRegistry(h, w, r); found != nil {
		answer(w, r, OneRegistry{Schema, *found})
	}
}

// findRegistry returns the registry that the path names, and answers for one that
// there is not.
func findRegistry(h *handler, w http.ResponseWriter, r *http.Request) *Registry {
	s := h.Snapshot()
	found := s.Find(r.PathValue("registry"))
	if found == nil {
		problem(w, r, http.StatusNotFound, "unknown_registry", "there is no such registry in the configuration")
	}
	return found
}

func showUpstream(h *handler, w http.ResponseWriter, r *http.Request) {
	reg := findRegistry(h, w, r)
	if reg == nil {
		return
	}
	name := r.PathValue("upstream")
	for _, l := range reg.Lanes {
		if l.Upstream != name {
			continue
		}
		one := OneUpstream{Schema: Schema, Name: reg.Snapshot.Registry, LaneSnapshot: l, Served: []Served{}}
		if p, ok := reg.Probe(name); ok {
			one.Probe = &p
		}
		for _, s := range reg.Served {
			if s.Upstream == name {
				one.Served = append(one.Served, s)
			}
		}
		answer(w, r, one)
		return
	}
	problem(w, r, http.StatusNotFound, "unknown_upstream", "this registry has no such upstream in the configuration")
}

// How many failovers one answer lists. No more are kept of one registry.
const defaultFailovers = 100

func showFailovers(h *handler, w http.ResponseWriter, r *http.Request) {
	list := FailoverList{Schema: Schema, Failovers: []Failover{}}
	if h.Sources.Events == nil {
		answer(w, r, list)
		return
	}
	q := r.URL.Query()
	limit := defaultFailovers
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			problem(w, r, http.StatusBadRequest, "bad_request", "limit is a number from 1")
			return
		}
		limit = n
	}
	seq, after, ok := sinceOf(q.Get("since"))
	if !ok {
		problem(w, r, http.StatusBadRequest, "bad_request", "since is the number of an event, or a time like 2006-01-02T15:04:05Z")
		return
	}
	events, last, _ := h.Sources.Events.Since(seq)
	list.Seq = last
	for i := len(events) - 1; i >= 0 && len(list.Failovers) < limit; i-- {
		e := events[i]
		if e.Failover != nil && e.At.After(after) && (q.Get("registry") == "" || q.Get("registry") == e.Registry) {
			list.Failovers = append(list.Failovers, Failover{e.Seq, *e.Failover})
		}
	}
	answer(w, r, list)
}

// sinceOf reads the number of an event, or a time.
func sinceOf(text string) (seq uint64, after time.Time, ok bool) {
	if text == "" {
		return 0, after, true
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n, after, true
	}
	t, err := time.Parse(time.RFC3339, text)
	return 0, t, err == nil
}

func showQuota(h *handler, w http.ResponseWriter, r *http.Request) {
	list := QuotaList{Schema, []Quota{}}
	for _, reg := range h.Snapshot().Registries {
		for _, l := range reg.Lanes {
			if l.Quota != nil {
				list.Quotas = append(list.Quotas, Quota{reg.Snapshot.Registry, l.Upstream, *l.Quota})
			}
		}
	}
	answer(w, r, list)
}
