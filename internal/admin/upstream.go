package admin

import "net/http"

// UpstreamRequest is the body of POST /api/v1/upstream:reset.
type UpstreamRequest struct {
	Registry string `json:"registry"` // as configured: "docker.io"
	Upstream string `json:"upstream"` // as configured: "docker-hub"
}

// UpstreamChanged answers it.
type UpstreamChanged struct {
	Registry string `json:"registry"`
	Upstream string `json:"upstream"`
	State    string `json:"state"` // after it, in the words of the snapshot
}

// upstreamRoutes are what versions before /api/v1/registries ask for.
var upstreamRoutes = []route{{
	method: http.MethodPost, path: "/api/v1/upstream:reset", serve: (*handler).reset,
	doc: doc{
		id: "resetUpstream", about: "Forgets what was learnt of an upstream. The same as the action reset of the upstream itself.",
		body: UpstreamRequest{}, answer: UpstreamChanged{}, problems: []string{"bad_request", "unknown_registry", "unknown_upstream", "not_found", "internal"},
	},
}}

// reset forgets what was learnt of an upstream.
func (h *handler) reset(w http.ResponseWriter, r *http.Request) {
	var ask UpstreamRequest
	if !decode(w, r, &ask) {
		return
	}
	if ask.Registry == "" || ask.Upstream == "" {
		problem(w, r, http.StatusBadRequest, "bad_request", `the body is {"registry": a registry's name, "upstream": an upstream's}`)
		return
	}
	if done, ok := h.do(w, r, Action{Kind: KindReset, Registry: ask.Registry, Upstream: ask.Upstream}); ok {
		answer(w, r, UpstreamChanged{Registry: ask.Registry, Upstream: ask.Upstream, State: done.After})
	}
}
