package metrics

import (
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
)

var (
	buildInfo = gauge("build_info", "1, with what runs as labels.", "version", "revision", "goversion")
	reloadOK  = gauge("config_last_reload_successful", "Whether the last reload took the new configuration: 0 or 1.")
	egressUp  = gauge("egress_up", "Whether what was sent last came through the proxy on the way out: 0 or 1; 1 before the first.", "egress")
	overrides = gauge("overrides_active", "What operators want for a while, by what it is.", "action")
	streams   = gauge("sse_clients", "Readers of the stream of events.")
	missed    = counter("events_dropped_total", "Times that a reader of the stream missed events: it was too slow and was cut off, or came back when they were no longer kept.")
	panics    = counter("panics_total", "Mistakes in the program that ended a step of what shows how things stand, by what it was for; the log has the stack.", "part")
	reloadAt  = gauge("config_last_reload_success_timestamp_seconds", "When the configuration in force was loaded.")
)

// panics sends what went wrong in the operator's plane itself.
func (out series) panics(counts map[string]uint64) {
	for part, n := range counts {
		out.number(panics, float64(n), part)
	}
}

// daemon sends what runs, on which configuration.
func (out series) daemon(s *admin.Snapshot, build [2]string) {
	out.number(buildInfo, 1, s.Version, build[0], build[1])
	out.flag(reloadOK, s.Config.LastReloadOK)
	out.moment(reloadAt, &s.Config.LoadedAt)
	for _, e := range s.Egresses {
		out.flag(egressUp, e.State != balancer.EgressDown, e.Name)
	}
}

// operators sends what operators want, and how many look on.
func (out series) operators(s *admin.Snapshot, c *admin.StreamCounts) {
	// Each kind is there also when there is none of it, so that an alert on it ends.
	active := map[admin.Kind]int{admin.KindDrain: 0, admin.KindDisable: 0, admin.KindPin: 0, admin.KindReorder: 0}
	for _, o := range s.Overrides {
		active[o.Kind]++
	}
	for kind, n := range active {
		out.number(overrides, float64(n), string(kind))
	}
	out.number(streams, float64(c.Readers()))
	out.number(missed, float64(c.Missed()))
}
