package admin_test

import (
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/messages"
)

// One cause is one sentence, however many registries it leaves without a path.
func TestJudgeByCause(t *testing.T) {
	t.Parallel()
	behind := func(l balancer.LaneSnapshot) balancer.LaneSnapshot {
		l.Via = "home"
		return l
	}
	dead := behind(lane(1, "hub", balancer.StateDown, pullchain.CodeEgressProxy, 8*time.Second))
	unaware := behind(lane(1, "hub", balancer.StateServing, "", 0))
	worker := lane(2, "worker", balancer.StateServing, "", 0)
	spent := lane(2, "worker", balancer.StateCooling, pullchain.CodeQuota, 14*time.Minute)
	third := lane(3, "mirror", balancer.StateServing, "", 0)
	only := func(name string) balancer.Snapshot { return chain(name, false, dead) }
	fine := chain("fine.io", true, lane(1, "hub", balancer.StateServing, "", 0))
	for _, tt := range []struct {
		name   string
		chains []balancer.Snapshot
		level  string
		en, zh string
	}{
		{"five registries behind it", []balancer.Snapshot{only("docker.io"), only("ghcr.io"), only("quay.io"), only("gcr.io"), only("nvcr.io"), fine}, "degraded",
			"1 of 6 registries pullable. home (socks5) is down: no path for docker.io, ghcr.io and 3 more.",
			"6 个仓库中 1 个可拉取。出口代理 home (socks5) 不通：docker.io，ghcr.io 及另外 3 个 没有可用路径。"},
		{"nothing else there", []balancer.Snapshot{only("docker.io"), chain("ghcr.io", true, unaware)}, "outage",
			"0 of 2 registries pullable. home (socks5) is down: no path for docker.io, ghcr.io.",
			"2 个仓库中 0 个可拉取。出口代理 home (socks5) 不通：docker.io，ghcr.io 没有可用路径。"},
		{"others go around it", []balancer.Snapshot{only("quay.io"), chain("docker.io", true, dead, worker)}, "degraded",
			"1 of 2 registries pullable. home (socks5) is down: no path for quay.io; docker.io by other paths.",
			"2 个仓库中 1 个可拉取。出口代理 home (socks5) 不通：quay.io 没有可用路径；docker.io 改走其他路径。"},
		{"a trouble of another kind beside it", []balancer.Snapshot{chain("docker.io", true, dead, spent, third)}, "degraded",
			"1 of 1 registries pullable. home (socks5) is down: docker.io by other paths. docker.io on mirror: worker is 429 (pull quota spent), back in 14 min.",
			"1 个仓库中 1 个可拉取。出口代理 home (socks5) 不通：docker.io 改走其他路径。docker.io 正走 mirror：worker 返回 429（拉取额度已用尽），14 分钟后恢复。"},
		{"the other path is out as well", []balancer.Snapshot{chain("docker.io", false, dead, spent)}, "outage",
			"0 of 1 registries pullable. home (socks5) is down: no path for docker.io.",
			"1 个仓库中 0 个可拉取。出口代理 home (socks5) 不通：docker.io 没有可用路径。"},
	} {
		in := diagnose.Input{Now: now, Egresses: []diagnose.Egress{{Name: "home", URL: "socks5://127.0.0.1:7890", EgressSnapshot: balancer.EgressSnapshot{State: balancer.EgressDown, Code: pullchain.CodeEgressProxy}}}}
		for _, c := range tt.chains {
			in.Registries = append(in.Registries, diagnose.Registry{Snapshot: c})
		}
		warnings := diagnose.Diagnose(in)
		if got := admin.Summarize(tt.chains, nil, now, warnings...); got.Level != tt.level || got.Text != tt.en {
			t.Errorf("%s:\ngot  %s: %s\nwant %s: %s", tt.name, got.Level, got.Text, tt.level, tt.en)
		}
		if got := admin.SummarizeIn(messages.In(messages.Chinese), tt.chains, nil, now, warnings...); got.Text != tt.zh {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got.Text, tt.zh)
		}
	}
}
