package metrics

import (
	"github.com/pullchain/pullchain/internal/admin"
)

var (
	buildInfo = gauge("build_info", "1, with what runs as labels.", "version", "revision", "goversion")
	reloadOK  = gauge("config_last_reload_successful", "Whether the last reload took the new configuration: 0 or 1.")
	reloadAt  = gauge("config_last_reload_success_timestamp_seconds", "When the configuration in force was loaded.")
)

func (out series) daemon(s *admin.Snapshot, build [2]string) {
	out.number(buildInfo, 1, s.Version, build[0], build[1])
	out.flag(reloadOK, s.Config.LastReloadOK)
	out.moment(reloadAt, &s.Config.LoadedAt)
}
