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
			"1 of 1 registry pullable. home (socks5) is down: docker.io by other paths. docker.io on mirror: worker is 429 (pull quota spent), back in 14 min.",
			"1 个仓库中 1 个可拉取。出口代理 home (socks5) 不通：docker.io 改走其他路径。docker.io 正走 mirror：worker 返回 429（拉取额度已用尽），14 分钟后恢复。"},
		{"the other path is out as well", []balancer.Snapshot{chain("docker.io", false, dead, spent)}, "outage",
			"0 of 1 registry pullable. home (socks5) is down: no path for docker.io.",
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

// That clients get nothing is told first of a registry that has a path, and not at all of
// one that has none, which says more.
func TestJudgePullsFailing(t *testing.T) {
	t.Parallel()
	serving := lane(1, "hub", balancer.StateServing, "", 0)
	fails := func(registry string) diagnose.Warning {
		return diagnose.Warning{ID: diagnose.PullsFailing + ":" + registry, Code: diagnose.PullsFailing, Severity: diagnose.Critical, Affects: []string{registry},
			Values: map[string]string{"registry": registry, "requests": "6", "repositories": "2", "repository": "library/alpine", "code": "auth_token"}}
	}
	ails := chain("docker.io", true, lane(1, "hub", balancer.StateDegraded, pullchain.CodeStall, 0))
	fine := chain("ghcr.io", true, serving)
	for _, tt := range []struct {
		name   string
		chains []balancer.Snapshot
		level  string
		en, zh string
	}{
		{"nothing else is wrong", []balancer.Snapshot{chain("docker.io", true, serving), fine}, "degraded",
			"2 of 2 registries pullable. Pulls from docker.io fail: all of the last 6 requests, for 2 different images; the last one: auth_token.",
			"2 个仓库中 2 个可拉取。从 docker.io 拉取失败：最近 6 个请求全部失败，涉及 2 个不同的镜像；最后一次：auth_token。"},
		{"before what is said of lanes, however much that is", []balancer.Snapshot{chain("a.io", false), chain("b.io", false), chain("c.io", false), ails}, "degraded",
			"1 of 4 registries pullable. Pulls from docker.io fail: all of the last 6 requests, for 2 different images; the last one: auth_token. a.io has no path. b.io has no path. And 2 more.",
			"4 个仓库中 1 个可拉取。从 docker.io 拉取失败：最近 6 个请求全部失败，涉及 2 个不同的镜像；最后一次：auth_token。a.io 没有可用路径。b.io 没有可用路径。另有 2 个。"},
		{"there is no path", []balancer.Snapshot{chain("docker.io", false)}, "outage", "0 of 1 registry pullable. docker.io has no path.", "1 个仓库中 0 个可拉取。docker.io 没有可用路径。"},
		{"it is another registry", []balancer.Snapshot{fine}, "ok", "1 of 1 registry pullable.", "1 个仓库中 1 个可拉取。"},
	} {
		for lang, text := range map[string]string{messages.English: tt.en, messages.Chinese: tt.zh} {
			if got := admin.SummarizeIn(messages.In(lang), tt.chains, nil, now, fails("docker.io")); got.Level != tt.level || got.Text != text {
				t.Errorf("%s: got\n%s: %s\nwant\n%s: %s", tt.name, got.Level, got.Text, tt.level, text)
			}
		}
	}
}
