package diagnose

import (
	"cmp"
	"strconv"
)

// pullsFailing finds the registries of which clients get nothing, although no gate is
// closed: a token server that is down, or a login page where manifests should be. Where
// something else says that there is no path, that is told instead. One repository alone
// may be what is broken; several are the registry.
func pullsFailing(f *findings) []Warning {
	var out []Warning
	for i := range f.Registries {
		r := &f.Registries[i]
		p := r.Failures
		if p == nil || f.stuck(r.Registry) || f.neverWorked(r) {
			continue
		}
		severity, repositories := Degraded, strconv.Itoa(p.Repositories)
		if p.Repositories > 1 {
			severity = Critical
		}
		if p.Many() {
			repositories += "+"
		}
		out = append(out, Warning{
			ID: id(PullsFailing, r.Registry), Code: PullsFailing, Severity: severity, Since: p.First, Affects: []string{r.Registry},
			Values: map[string]string{
				"registry": r.Registry, "requests": strconv.Itoa(p.Requests), "repositories": repositories, "repository": p.Repository,
				"code": cmp.Or(p.Code, strconv.Itoa(p.Status)),
			},
			Fix: "pullchain why",
		})
	}
	return out
}
