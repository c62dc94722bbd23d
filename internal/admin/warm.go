package admin

import (
	"net/http"

	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/warm"
)

// A Schedule fetches what [[warm]] tables say. It is *warm.Scheduler.
type Schedule interface {
	Plans() []warm.Plan
	RunNow() []warm.Plan // makes all of them due, and does not wait for them
}

// Warmth answers GET /api/v1/warm, and POST /api/v1/warm:run with how it stands then.
type Warmth struct {
	Schema int         `json:"schema"` // the constant Schema
	Plans  []warm.Plan `json:"plans"`  // one for each [[warm]] table
}

// warmRoutes are the images that are fetched ahead of need.
var warmRoutes = []route{
	{
		method: http.MethodGet, path: "/api/v1/warm", serve: warmth,
		doc: doc{id: "warm", about: "What [[warm]] tables fetch ahead of need: when next, and how it went last.", answer: Warmth{}, problems: []string{"not_found"}},
	},
	{
		method: http.MethodPost, path: "/api/v1/warm:run", serve: warmNow,
		doc: doc{id: "warmRun", about: "Has all [[warm]] tables run now, one after the other. It does not wait for them: runs grows when one has ended.", answer: Warmth{}, problems: []string{"not_found"}},
	},
}

// warmth answers with the schedule.
func warmth(h *handler, w http.ResponseWriter, r *http.Request) {
	if h.Warm == nil {
		problem(w, r, http.StatusNotFound, "not_found", "there is no schedule")
		return
	}
	answer(w, r, Warmth{Schema: Schema, Plans: h.Warm.Plans()})
}

// warmNow makes all of it due.
func warmNow(h *handler, w http.ResponseWriter, r *http.Request) {
	if h.Warm == nil {
		problem(w, r, http.StatusNotFound, "not_found", "there is no schedule")
		return
	}
	plans := h.Warm.RunNow()
	h.audit(r, warmKind, "", "", cache.Change{}, nil)
	answer(w, r, Warmth{Schema: Schema, Plans: plans})
}
