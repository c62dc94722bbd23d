package admin

import (
	"net/http"

	"github.com/pullchain/pullchain/internal/history"
)

// historyRoutes are the bars of the dashboard, and what is fetched by a schedule.
var historyRoutes = append(warmRoutes, route{
	method: http.MethodGet, path: "/api/v1/registries/{registry}/upstreams/{upstream}/history", serve: upstreamHistory,
	doc: doc{
		id: "history", about: "What was seen of an upstream, by its probes and by pulls, in cells of time.", answer: UpstreamHistory{},
		query:    []param{{"window", "string", "1h (cells of a minute, if nothing is said), 24h (15 minutes) or 30d (6 hours)"}},
		problems: []string{"unknown_upstream", "bad_request", "not_found"},
	},
})

// UpstreamHistory answers GET /api/v1/registries/{r}/upstreams/{u}/history.
type UpstreamHistory struct {
	Schema   int            `json:"schema"` // the constant Schema
	Registry string         `json:"registry"`
	Upstream string         `json:"upstream"`
	Window   history.Window `json:"window"`
	CellS    int64          `json:"cell_s"` // how long each cell is, in seconds
	Cells    []history.Cell `json:"cells"`  // oldest first; the last is that of now
}

// upstreamHistory answers with what was seen of an upstream. One that was just taken out of
// the configuration still has a past.
func upstreamHistory(h *handler, w http.ResponseWriter, r *http.Request) {
	if h.History == nil {
		problem(w, r, http.StatusNotFound, "not_found", "there is no history")
		return
	}
	ask := UpstreamHistory{Schema: Schema, Registry: r.PathValue("registry"), Upstream: r.PathValue("upstream"), Window: history.Hour}
	if q := r.URL.Query().Get("window"); q != "" {
		ask.Window = history.Window(q)
	}
	ask.CellS = int64(ask.Window.Period().Seconds())
	if ask.CellS == 0 {
		problem(w, r, http.StatusBadRequest, "bad_request", "the window is 1h, 24h or 30d")
		return
	}
	s := h.Snapshot()
	ask.Cells = h.History.Cells(ask.Registry, ask.Upstream, ask.Window, s.Now)
	if ask.Cells == nil && s.has(ask.Registry, ask.Upstream) { // not looked at yet
		ask.Cells = history.Unknown(ask.Window, s.Now)
	}
	if ask.Cells == nil {
		refused(w, r, ErrNoUpstream(ask.Registry, ask.Upstream))
		return
	}
	answer(w, r, ask)
}

// has reports whether there is an upstream of that name.
func (s *Snapshot) has(registry, upstream string) bool {
	r := s.Find(registry)
	if r == nil {
		return false
	}
	for _, l := range r.Lanes {
		if l.Upstream == upstream {
			return true
		}
	}
	return false
}
