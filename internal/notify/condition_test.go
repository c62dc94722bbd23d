package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/messages"
)

// laneOf is a lane that may say what a tag means, proved unless it is unknown.
func laneOf(order int, name, state string, code pullchain.Code) balancer.LaneSnapshot {
	return balancer.LaneSnapshot{Upstream: name, Order: order, State: state, Code: code, Trust: "resolve", Eligible: state == balancer.StateServing || state == balancer.StateStandby}
}

func registryOf(name string, lanes ...balancer.LaneSnapshot) balancer.Snapshot {
	pullable := slices.ContainsFunc(lanes, func(l balancer.LaneSnapshot) bool { return l.Eligible })
	return balancer.Snapshot{Registry: name, Pullable: pullable, Proved: true, Lanes: lanes}
}

func warningOf(code, about, severity string, affects ...string) diagnose.Warning {
	id := code
	if about != "" {
		id += ":" + about
	}
	return diagnose.Warning{ID: id, Code: code, Severity: severity, Since: start, Affects: affects, Fix: "look at " + about,
		Values: map[string]string{"egress": about, "kind": "socks5", "url": "socks5://127.0.0.1:1", "upstream": about, "registry": "docker.io", "until_at": "2026-11-30T11:00:00Z"}}
}

// Five registries behind one cause are told once; what has another cause beside it is
// told as well.
func TestConditions(t *testing.T) {
	t.Parallel()
	dead := func(order int) balancer.LaneSnapshot {
		return laneOf(order, "hub", balancer.StateDown, pullchain.CodeEgressProxy)
	}
	good := laneOf(2, "direct", balancer.StateServing, "")
	spent := laneOf(1, "hub", balancer.StateCooling, pullchain.CodeQuota)
	proxy := warningOf(diagnose.EgressDown, "home", diagnose.Critical, "docker.io/hub", "ghcr.io/hub")
	starting := registryOf("new.io", laneOf(1, "hub", balancer.StateUnknown, ""))
	starting.Proved, starting.Pullable = false, true
	for _, tt := range []struct {
		name     string
		chains   []balancer.Snapshot
		warnings []diagnose.Warning
		want     string
	}{
		{"all is well", []balancer.Snapshot{registryOf("docker.io", good)}, nil, "registry docker.io ok"},
		{"a detour", []balancer.Snapshot{registryOf("docker.io", spent, good)}, nil, "registry docker.io degraded"},
		{"no path", []balancer.Snapshot{registryOf("docker.io", spent)}, nil, "registry docker.io outage"},
		{"a proxy, with a detour", []balancer.Snapshot{registryOf("docker.io", dead(1), good)}, []diagnose.Warning{proxy},
			"registry docker.io degraded covered, egress_down home degraded"},
		{"a proxy, without one for some", []balancer.Snapshot{registryOf("docker.io", dead(1), good), registryOf("ghcr.io", dead(1))}, []diagnose.Warning{proxy},
			"registry docker.io degraded covered, registry ghcr.io outage covered, egress_down home outage"},
		{"a proxy that a lane has not met", []balancer.Snapshot{registryOf("ghcr.io", laneOf(1, "hub", balancer.StateServing, ""))}, []diagnose.Warning{proxy},
			"registry ghcr.io outage covered, egress_down home outage"},
		{"another trouble beside it", []balancer.Snapshot{registryOf("docker.io", dead(1), laneOf(2, "direct", balancer.StateDown, pullchain.CodeConnRefused))}, []diagnose.Warning{proxy},
			"registry docker.io outage, egress_down home degraded"},
		{"a quota", []balancer.Snapshot{registryOf("docker.io", spent, good)}, []diagnose.Warning{warningOf(diagnose.QuotaSpent, "docker.io/hub", diagnose.Degraded, "docker.io/hub")},
			"registry docker.io degraded covered, quota_spent docker.io/hub degraded"},
		{"a certificate that will end explains nothing", []balancer.Snapshot{registryOf("docker.io", spent, good)}, []diagnose.Warning{warningOf(diagnose.CertExpiring, "docker.io/hub", diagnose.Degraded, "docker.io/hub")},
			"registry docker.io degraded, cert_expiring docker.io/hub degraded"},
		{"what is only worth knowing", []balancer.Snapshot{registryOf("docker.io", good)}, []diagnose.Warning{warningOf(diagnose.QuotaLow, "docker.io/hub", diagnose.Info, "docker.io/hub")},
			"registry docker.io ok"},
		{"nothing has worked yet", []balancer.Snapshot{registryOf("docker.io", spent)}, []diagnose.Warning{warningOf(diagnose.Unproved, "", diagnose.Critical, "docker.io")},
			"registry docker.io outage covered, unproved  outage"},
		{"clients get nothing though there is a path", []balancer.Snapshot{registryOf("docker.io", good)}, []diagnose.Warning{warningOf(diagnose.PullsFailing, "docker.io", diagnose.Critical, "docker.io")},
			"registry docker.io degraded covered, pulls_failing docker.io degraded"},
		{"a start", []balancer.Snapshot{starting}, nil, "registry new.io degraded covered"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, c := range (State{Now: start, Chains: tt.chains, Warnings: tt.warnings}).Conditions() {
				line := fmt.Sprintf("%s %s %s", c.Code, c.Subject, c.Level)
				if c.Covered {
					line += " covered"
				}
				got = append(got, line)
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("got\n%s, want\n%s", strings.Join(got, ", "), tt.want)
			}
		})
	}
}

// A cause is told by what it is, with the step that mends it, and so is its end.
func TestCauseReads(t *testing.T) {
	t.Parallel()
	w := warningOf(diagnose.EgressDown, "home", diagnose.Critical, "docker.io/hub", "ghcr.io/hub")
	c := State{Now: start, Warnings: []diagnose.Warning{w}}.Conditions()[0]
	for _, tt := range []struct{ lang, begins, ends string }{
		{"en", "[DEGRADED] home (socks5) is down\nhome (socks5) is down.\nSince 2026-11-30 10:42:00 +0000, for 1 s\nAffects: docker.io/hub, ghcr.io/hub\n" +
			"Start the proxy at socks5://127.0.0.1:1, or point [egress.home] at one that runs. This shows whether it answers:\nNext: look at home",
			"[OVER] home (socks5) is down\nThis is over: home (socks5) is down.\nIt lasted 60 s, "},
		{"zh", "【降级】出口代理 home (socks5) 不通\n出口代理 home (socks5) 不通。\n", "【已解除】出口代理 home (socks5) 不通\n此问题已结束：出口代理 home (socks5) 不通。\n持续 60 秒"},
	} {
		m := messages.In(tt.lang)
		began := Change{Condition: c, Began: start}
		if msg := compose(m, sender, []Change{began}, start); !strings.HasPrefix(msg.title+"\n"+msg.text(), tt.begins) {
			t.Errorf("%s\n%s\nwant\n%s", msg.title, msg.text(), tt.begins)
		}
		over := Change{Condition: c, From: Degraded, Began: start, Ended: start.Add(60e9)}
		over.Level = OK
		if msg := compose(m, sender, []Change{over}, start); !strings.HasPrefix(msg.title+"\n"+msg.text(), tt.ends) {
			t.Errorf("%s\n%s\nwant\n%s", msg.title, msg.text(), tt.ends)
		}
	}
}
