package admin

import (
	"context"
	"net/http"
	"strconv"

	"github.com/pullchain/pullchain/internal/messages"
	"github.com/pullchain/pullchain/internal/traffic"
)

// Traffic is what clients asked for and got; a [*traffic.Journal] is some.
type Traffic interface {
	Pulls() (active, recent []traffic.Pull)
	Pull(id string) (traffic.Pull, bool)
	Clients() []traffic.Client
	Requests(traffic.RequestFilter) []traffic.Request
	Request(id string) (traffic.Request, bool)
	Changed(ctx context.Context, since uint64) (uint64, error)
}

// maxRequests is how many requests an answer has at most, and manyRequests how many if
// nothing else is asked.
const (
	maxRequests  = 2000
	manyRequests = 100
)

// trafficRoutes are what clients asked for and got.
var trafficRoutes = []route{
	{
		method: http.MethodGet, path: "/api/v1/pulls", serve: servePulls,
		doc: doc{
			id: "pulls", about: "The pulls that are active or were a minute ago, and those before them; the newest first.", answer: PullList{},
			query: []param{
				{"state", "string", "active or recent; both if it is left out"},
				{"image", "string", "only of this image, as people type it"},
				{"client", "string", "only of this family or address"},
			},
			problems: []string{"bad_request", "not_found"},
		},
	},
	{
		method: http.MethodGet, path: "/api/v1/pulls/{id}", serve: servePull,
		doc: doc{id: "pull", about: "One pull, with its requests that are still known, and what went wrong in them.", answer: PullDetail{}, problems: []string{"not_found"}},
	},
	{
		method: http.MethodGet, path: "/api/v1/clients", serve: serveClients,
		doc: doc{id: "clients", about: "The clients that came since the start, the one seen last first.", answer: ClientList{}, problems: []string{"not_found"}},
	},
	{
		method: http.MethodGet, path: "/api/v1/requests", serve: serveRequests,
		doc: doc{
			id: "requests", about: "The last requests that are over, the newest first. Failed and degraded ones are kept longer than others.", answer: RequestList{},
			query: []param{
				{"registry", "string", "only for this registry"},
				{"upstream", "string", "only those that this upstream was asked for"},
				{"client", "string", "only of this family or address"},
				{"image", "string", "only for this image, as people type it"},
				{"pull", "string", "only of the pull with this ID"},
				{"failed", "boolean", "only failed ones, and with degraded those too"},
				{"degraded", "boolean", "only degraded ones, and with failed those too"},
				{"limit", "integer", "how many at most: 100 if it is left out, no more than 2000"},
			},
			problems: []string{"bad_request", "not_found"},
		},
	},
	{
		method: http.MethodGet, path: "/api/v1/requests/{id}", serve: serveRequest,
		doc: doc{id: "request", about: "One request, by the ID that the client's error and the access log have, and what went wrong in it.", answer: RequestDetail{}, problems: []string{"not_found"}},
	},
}

// PullList answers GET /api/v1/pulls. A list that was not asked for is empty.
type PullList struct {
	Schema int            `json:"schema"` // the constant Schema
	Active []traffic.Pull `json:"active"`
	Recent []traffic.Pull `json:"recent"`
}

// PullDetail answers GET /api/v1/pulls/{id}.
type PullDetail struct {
	Schema   int          `json:"schema"` // the constant Schema
	Pull     traffic.Pull `json:"pull"`
	Findings []Finding    `json:"findings"`
}

// ClientList answers GET /api/v1/clients.
type ClientList struct {
	Schema  int              `json:"schema"` // the constant Schema
	Clients []traffic.Client `json:"clients"`
}

// RequestList answers GET /api/v1/requests.
type RequestList struct {
	Schema   int               `json:"schema"` // the constant Schema
	Requests []traffic.Request `json:"requests"`
}

// RequestDetail answers GET /api/v1/requests/{id}.
type RequestDetail struct {
	Schema   int             `json:"schema"` // the constant Schema
	Request  traffic.Request `json:"request"`
	Findings []Finding       `json:"findings"`
}

// noTraffic answers where nothing is remembered, and reports whether it did.
func noTraffic(h *handler, w http.ResponseWriter, r *http.Request) bool {
	if h.Traffic == nil {
		problem(w, r, http.StatusNotFound, "not_found", "requests are not remembered here")
	}
	return h.Traffic == nil
}

// servePulls answers with the pulls that are asked for.
func servePulls(h *handler, w http.ResponseWriter, r *http.Request) {
	if noTraffic(h, w, r) {
		return
	}
	q := r.URL.Query()
	state, image, client := q.Get("state"), q.Get("image"), q.Get("client")
	pick := func(all []traffic.Pull, wanted bool) []traffic.Pull {
		out := []traffic.Pull{} // and never null
		for _, p := range all {
			if wanted && (image == "" || p.Names(image)) && (client == "" || client == p.Client || client == p.Addr) {
				out = append(out, p)
			}
		}
		return out
	}
	switch state {
	case "", "active", "recent":
		active, recent := h.Traffic.Pulls()
		answer(w, r, PullList{Schema: Schema, Active: pick(active, state != "recent"), Recent: pick(recent, state != "active")})
	default:
		problem(w, r, http.StatusBadRequest, "bad_request", "the state is active or recent")
	}
}

// servePull answers with one pull.
func servePull(h *handler, w http.ResponseWriter, r *http.Request) {
	if noTraffic(h, w, r) {
		return
	}
	p, ok := h.Traffic.Pull(r.PathValue("id"))
	if !ok {
		problem(w, r, http.StatusNotFound, "not_found", "no such pull is known, or no longer")
		return
	}
	answer(w, r, PullDetail{Schema: Schema, Pull: p, Findings: Findings(messages.In(messages.English), p.Requests)})
}

// serveClients answers with the clients.
func serveClients(h *handler, w http.ResponseWriter, r *http.Request) {
	if !noTraffic(h, w, r) {
		answer(w, r, ClientList{Schema: Schema, Clients: h.Traffic.Clients()})
	}
}

// serveRequests answers with the requests that are asked for.
func serveRequests(h *handler, w http.ResponseWriter, r *http.Request) {
	if noTraffic(h, w, r) {
		return
	}
	q := r.URL.Query()
	want := traffic.RequestFilter{
		Registry: q.Get("registry"), Upstream: q.Get("upstream"), Client: q.Get("client"), Image: q.Get("image"), Pull: q.Get("pull"), Limit: manyRequests,
	}
	for name, flag := range map[string]*bool{"failed": &want.Failed, "degraded": &want.Degraded} {
		var err error
		if text := q.Get(name); text != "" {
			if *flag, err = strconv.ParseBool(text); err != nil {
				problem(w, r, http.StatusBadRequest, "bad_request", name+" is true or false")
				return
			}
		}
	}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxRequests {
			problem(w, r, http.StatusBadRequest, "bad_request", "limit is a number from 1 to "+strconv.Itoa(maxRequests))
			return
		}
		want.Limit = n
	}
	answer(w, r, RequestList{Schema: Schema, Requests: h.Traffic.Requests(want)})
}

// serveRequest answers with one request.
func serveRequest(h *handler, w http.ResponseWriter, r *http.Request) {
	if noTraffic(h, w, r) {
		return
	}
	one, ok := h.Traffic.Request(r.PathValue("id"))
	if !ok {
		problem(w, r, http.StatusNotFound, "not_found", "no such request is known, or no longer")
		return
	}
	answer(w, r, RequestDetail{Schema: Schema, Request: one, Findings: Findings(messages.In(messages.English), []traffic.Request{one})})
}
