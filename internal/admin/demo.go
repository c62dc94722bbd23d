package admin

import (
	"context"
	"errors"
	"net/http"
)

// A Demo is the simulated internet behind `pullchain demo`, whose faults a person
// at the page may switch. A daemon that pulls from the real one has none.
type Demo interface {
	// Switches are the upstreams in the order of their chain, and the fault of each.
	Switches() []Switch

	// Throw puts a fault on an upstream in place of the one that it has. The error
	// is [ErrNoSwitch] for a fault or an upstream that there is not.
	Throw(ctx context.Context, upstream, fault string) error
}

// NoFault is the fault of an upstream that works.
const NoFault = "none"

// ErrNoSwitch is the error for a switch that the demo does not have.
var ErrNoSwitch = errors.New("the demo has no such switch")

// A Switch is what can be done to one upstream of the demo.
type Switch struct {
	Upstream string   `json:"upstream"`
	Fault    string   `json:"fault"`  // the one that is on, or NoFault
	Faults   []string `json:"faults"` // that can be thrown, NoFault first
}

// DemoSwitches answers GET /api/v1/demo.
type DemoSwitches struct {
	Schema   int      `json:"schema"` // the constant Schema
	Switches []Switch `json:"switches"`
}

// DemoRequest is the body of POST /api/v1/demo:throw.
type DemoRequest struct {
	Upstream string `json:"upstream"`
	Fault    string `json:"fault"`
}

// demoRoutes are the demo's switches.
var demoRoutes = []route{
	{
		method: http.MethodGet, path: "/api/v1/demo", serve: switches,
		doc: doc{id: "demo", about: "The switches of `pullchain demo` as they stand.", answer: DemoSwitches{}, problems: []string{"not_found"}},
	},
	{
		method: http.MethodPost, path: "/api/v1/demo:throw", serve: throw,
		doc: doc{
			id: "demoThrow", about: "Throws one of them.", body: DemoRequest{}, answer: DemoSwitches{},
			problems: []string{"not_found", "bad_request", "unknown_switch", "internal"},
		},
	},
	{
		method: http.MethodPost, path: "/demo", serve: throwForm, form: true,
		doc: doc{
			id: "demoForm", about: "Throws one of them by a form of the page, and leads back there.", body: demoForm{}, media: "text/html",
			problems: []string{"not_found", "bad_request", "cross_origin", "csrf", "unknown_switch", "internal"},
		},
	},
}

// A demoForm is what a browser sends to throw a switch.
type demoForm struct {
	CSRF     string `json:"csrf"`
	Upstream string `json:"upstream"`
	Fault    string `json:"fault"`
}

// throwForm throws a switch for the page, and shows it again.
func throwForm(h *handler, w http.ResponseWriter, r *http.Request) {
	switch {
	case h.Demo == nil:
		noDemo(w, r)
	case h.ourForm(w, r) && thrown(h, w, r, DemoRequest{Upstream: r.PostForm.Get("upstream"), Fault: r.PostForm.Get("fault")}):
		http.Redirect(w, r, "/#demo", http.StatusSeeOther)
	}
}

// switches answers with the demo's switches as they stand.
func switches(h *handler, w http.ResponseWriter, r *http.Request) {
	if h.Demo == nil {
		noDemo(w, r)
		return
	}
	answer(w, r, DemoSwitches{Schema: Schema, Switches: h.Demo.Switches()})
}

// throw throws one of them.
func throw(h *handler, w http.ResponseWriter, r *http.Request) {
	if h.Demo == nil {
		noDemo(w, r)
		return
	}
	var ask DemoRequest
	if !decode(w, r, &ask) {
		return
	}
	if thrown(h, w, r, ask) {
		switches(h, w, r)
	}
}

// thrown throws a switch, and answers for one that cannot be.
func thrown(h *handler, w http.ResponseWriter, r *http.Request, ask DemoRequest) bool {
	switch err := h.Demo.Throw(r.Context(), ask.Upstream, ask.Fault); {
	case errors.Is(err, ErrNoSwitch):
		problem(w, r, http.StatusNotFound, "unknown_switch", err.Error())
	case err != nil:
		problem(w, r, http.StatusInternalServerError, "internal", err.Error())
	default:
		return true
	}
	return false
}

// noDemo answers as any path does that there is not: a daemon that serves real
// pulls is not to look as if it could be broken from a page.
func noDemo(w http.ResponseWriter, r *http.Request) {
	problem(w, r, http.StatusNotFound, "not_found", "there is no such page")
}
