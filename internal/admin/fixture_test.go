package admin_test

import (
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/healthcheck"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/diagnose"
)

// now is when everything in these tests happens.
var now = time.Date(2026, 11, 21, 10, 42, 7, 0, time.UTC)

func in(d time.Duration) *time.Time {
	t := now.Add(d)
	return &t
}

// lane is a lane in a state, with a code and for how long that lasts.
func lane(order int, name, state string, code pullchain.Code, left time.Duration) balancer.LaneSnapshot {
	l := balancer.LaneSnapshot{Upstream: name, Order: order, State: state, Code: code, Via: "direct", Trust: "resolve"}
	if left > 0 {
		l.Until = in(left)
	}
	return l
}

func chain(name string, pullable bool, lanes ...balancer.LaneSnapshot) balancer.Snapshot {
	return balancer.Snapshot{Registry: name, Strategy: balancer.Ordered, Pullable: pullable, Proved: pullable, Lanes: lanes}
}

// unproved is a chain of which no lane has been seen to work.
func unproved(name string, lanes ...balancer.LaneSnapshot) balancer.Snapshot {
	c := chain(name, true, lanes...)
	c.Proved = false
	return c
}

// falling is a lane whose last probe failed.
func falling(order int, name string, code pullchain.Code) balancer.LaneSnapshot {
	l := lane(order, name, balancer.StateDegraded, code, 0)
	l.Failing = true
	return l
}

// pullOnly is a lane that is not asked what a tag names.
func pullOnly(order int, name string) balancer.LaneSnapshot {
	l := lane(order, name, balancer.StateStandby, "", 0)
	l.Trust = "pull"
	return l
}

func passed(n int) []healthcheck.Result { return make([]healthcheck.Result, n) }

// snapshot is a daemon with most of what can be the matter.
func snapshot() admin.Snapshot {
	hub := lane(1, "docker-hub", balancer.StateCooling, pullchain.CodeQuota, 14*time.Minute)
	hub.Via = "home"
	hub.Classes = []balancer.ClassSnapshot{{Class: "manifest", Requests: 900, Failures: 100}, {Class: "blob", Requests: 100}}
	hub.Quota = &balancer.QuotaSnapshot{Limit: 100, WindowS: 21600, Source: "192.0.2.1", At: now.Add(-time.Minute)}
	worker := lane(2, "cf-worker", balancer.StateServing, "", 0)
	worker.Classes = []balancer.ClassSnapshot{{Class: "manifest", Requests: 100000, Failures: 1, TTFBp95MS: 410.2}}
	docker := chain("docker.io", true, hub, worker)
	docker.FailoversTotal = 12
	docker.Failovers = []balancer.Failover{
		{At: now, From: "docker-hub", To: "cf-worker", Phase: "manifest", Code: pullchain.CodeQuota, AddedMS: 38, Image: "docker.io/library/alpine:3.20"},
		{At: now.Add(-time.Hour), From: "docker-hub", To: "cf-worker", Phase: "blob_mid", Code: pullchain.CodeStall, Offset: 1887436, AddedMS: 10003,
			Image: "docker.io/library/alpine@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
	}
	ghcr := lane(1, "ghcr", balancer.StateServing, "", 0)
	ghcr.Classes = []balancer.ClassSnapshot{{Class: "manifest", Requests: 12, TTFBp95MS: 3.25}}
	quay := lane(1, "quay", balancer.StateDown, pullchain.CodeConnTimeout, 0)
	quay.Error = "dial tcp: \x1b[2Jtimeout"
	s := admin.Snapshot{
		Schema: admin.Schema, Version: "0.1.0", Now: now, Started: now.Add(-time.Hour), UptimeS: 3600, Listen: "127.0.0.1:5151",
		Config: admin.ConfigState{Source: "/etc/pullchain/pullchain.toml", LoadedAt: now.Add(-time.Hour), LastReloadOK: false,
			LastReloadAt: in(-time.Minute), LastReloadError: "pullchain.toml:3:1: server: unknown key \"lisen\""},
		Registries: []admin.Registry{
			{Snapshot: docker, Served: []admin.Served{
				{Class: "manifest", Upstream: "cf-worker", Requests: 42, Minutes: 10}, {Class: "manifest", Requests: 7, Minutes: 10},
				{Class: "blob", Upstream: "docker-hub", Requests: 120, Minutes: 10},
			}, Probes: []healthcheck.TargetSnapshot{{Name: "docker-hub", Known: true, Up: true, History: passed(20)}, {Name: "cf-worker", Known: true, Up: true, Falling: 1, Fall: 3, History: append(passed(3), healthcheck.Result{Error: "no"})}}},
			{Snapshot: chain("ghcr.io", true, ghcr)},
			{Snapshot: chain("quay.io", false, quay), Probes: []healthcheck.TargetSnapshot{{Name: "quay", Known: true, Rising: 1, Rise: 2, History: []healthcheck.Result{{Error: "no"}, {}}}}},
		},
	}
	s.Cache = &cache.Snapshot{
		Stats: blobstore.Stats{
			Dir: "/var/cache/pullchain", Bytes: 18<<30 + 200<<20, Limit: 50 << 30, Free: 100 << 30, Objects: 1234, Oldest: in(-240 * time.Hour), Scanned: true,
			Trouble: "the disk is full: \x1b[2J/var/cache",
		},
		Requests: map[string]map[string]uint64{"blob": {"hit": 718, "miss": 282}},
		Hits:     718, Misses: 282, HitRatio: 0.718,
		SavedBytes: 9<<30 + 400<<20,
	}
	s.Warnings = []diagnose.Warning{
		{ID: "egress_down:home", Code: diagnose.EgressDown, Severity: diagnose.Degraded, Since: now.Add(-5 * time.Minute), Affects: []string{"docker.io/docker-hub"},
			Values: map[string]string{"egress": "home", "kind": "socks5", "url": "socks5://127.0.0.1:7890"}, Fix: "curl -x socks5h://127.0.0.1:7890 https://registry-1.docker.io/v2/"},
		{ID: "reload_failed", Code: diagnose.ReloadFailed, Severity: diagnose.Degraded, Since: now.Add(-time.Minute), Affects: []string{},
			Values: map[string]string{"error": s.Config.LastReloadError}, Fix: "pullchain config validate --config /etc/pullchain/pullchain.toml"},
		{ID: "quota_low:docker.io/docker-hub", Code: diagnose.QuotaLow, Severity: diagnose.Info, Since: now},
	}
	return s
}
