package admin

import (
	"errors"
	"net/http"
)

// Upstreams are what an operator does to the upstreams of a running daemon.
type Upstreams interface {
	// ResetUpstream forgets what was learnt of an upstream of a registry, and says in
	// which state it is then. The error is [ErrNoUpstream] if there is none of that name.
	ResetUpstream(registry, upstream string) (state string, err error)
}

// ErrNoUpstream is the error for an upstream that is not configured.
var ErrNoUpstream = errors.New("there is no such upstream in the configuration")

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

// upstreamRoutes are what is done to upstreams.
var upstreamRoutes = []route{{
	method: http.MethodPost, path: "/api/v1/upstream:reset", serve: (*handler).reset,
	doc: doc{
		id: "upstreamReset", about: "Forgets what was learnt of an upstream.", body: UpstreamRequest{}, answer: UpstreamChanged{},
		problems: []string{"bad_request", "unknown_upstream", "internal"},
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
	state, err := h.Upstreams.ResetUpstream(ask.Registry, ask.Upstream)
	switch {
	case errors.Is(err, ErrNoUpstream):
		problem(w, r, http.StatusNotFound, "unknown_upstream", err.Error())
	case err != nil:
		problem(w, r, http.StatusInternalServerError, "internal", err.Error())
	default:
		answer(w, r, UpstreamChanged{Registry: ask.Registry, Upstream: ask.Upstream, State: state})
	}
}
