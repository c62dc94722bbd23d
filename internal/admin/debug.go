package admin

import (
	"net/http"
	"net/http/pprof"
)

// debugRoutes are the profiles of the running process, where [admin] pprof is on.
var debugRoutes = []route{
	{
		method: http.MethodGet, path: "/debug/pprof/", serve: profile(pprof.Index),
		doc: doc{id: "pprof", about: "The list of profiles, with [admin] pprof = true.", media: "text/html", problems: []string{"not_found", "cross_origin"}},
	},
	{
		method: http.MethodGet, path: "/debug/pprof/{profile}", serve: profile(oneProfile),
		doc: doc{id: "pprofOne", about: "One profile, as `go tool pprof` reads it.", media: "application/octet-stream", problems: []string{"not_found", "cross_origin"}},
	},
}

// profile answers with a profile, where that is switched on. Taking one costs
// something, so a page of another site must not have a browser ask for it.
func profile(serve http.HandlerFunc) func(*handler, http.ResponseWriter, *http.Request) {
	return func(h *handler, w http.ResponseWriter, r *http.Request) {
		switch {
		case !h.cfg.Pprof:
			problem(w, r, http.StatusNotFound, "not_found", "profiles are off: [admin] pprof = true switches them on")
		case IsForeign(r):
			crossOrigin(w, r)
		default:
			serve(w, r)
		}
	}
}

// oneProfile answers with the profile that the path names. Those below are no profiles
// of the runtime's table, which Index has.
func oneProfile(w http.ResponseWriter, r *http.Request) {
	switch r.PathValue("profile") {
	case "cmdline":
		pprof.Cmdline(w, r)
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r)
	}
}
