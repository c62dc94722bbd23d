package dashboard_test

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
	l := balancer.LaneSnapshot{Upstream: name, Order: order, State: state, Code: code, Via: "direct", Trust: "resolve", Since: in(-14 * time.Minute)}
	if left > 0 {
		l.Until = in(left)
	}
	return l
}

// busy gives a lane a past: how many manifests and blobs it answered, and how fast.
func busy(l balancer.LaneSnapshot, requests, failures uint64, p95 float64) balancer.LaneSnapshot {
	l.Classes = []balancer.ClassSnapshot{
		{Class: "manifest", Requests: requests, Failures: failures, TTFBp50MS: p95 / 2, TTFBp95MS: p95, Outcomes: map[pullchain.Code]uint64{pullchain.CodeQuota: failures}},
		{Class: "blob", Requests: 3 * requests, TTFBp50MS: p95 / 3, TTFBp95MS: p95 / 2},
	}
	return l
}

func chain(name string, pullable bool, lanes ...balancer.LaneSnapshot) balancer.Snapshot {
	return balancer.Snapshot{Registry: name, Strategy: balancer.Ordered, Pullable: pullable, Proved: pullable, Lanes: lanes}
}

const sum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// healthy is a daemon with nothing the matter.
func healthy() admin.Snapshot {
	docker := chain("docker.io", true, busy(lane(1, "docker-hub", balancer.StateServing, "", 0), 900, 0, 212),
		busy(lane(2, "cf-worker", balancer.StateStandby, "", 0), 40, 0, 410), lane(3, "mirror-x", balancer.StateStandby, "", 0))
	docker.Lanes[0].Quota = &balancer.QuotaSnapshot{Limit: 100, Remaining: 76, WindowS: 21600, Source: "192.0.2.1", At: now.Add(-time.Minute)}
	s := admin.Snapshot{
		Schema: admin.Schema, Version: "0.1.0", Now: now, Started: now.Add(-76 * time.Hour), UptimeS: 76 * 3600, Listen: "127.0.0.1:5151",
		Config: admin.ConfigState{Source: "/etc/pullchain/pullchain.toml", LoadedAt: now.Add(-time.Hour), LastReloadOK: true, LastReloadAt: in(-time.Hour)},
		Registries: []admin.Registry{
			{Snapshot: docker, Served: []admin.Served{{Class: "manifest", Upstream: "docker-hub", Requests: 49, Minutes: 10}, {Class: "blob", Requests: 120, Minutes: 10}}},
			{Snapshot: chain("ghcr.io", true, busy(lane(1, "ghcr", balancer.StateServing, "", 0), 12, 0, 320))},
			{Snapshot: chain("quay.io", true, busy(lane(1, "quay", balancer.StateServing, "", 0), 3, 0, 180), lane(2, "mirror-x", balancer.StateStandby, "", 0))},
			{Snapshot: chain("registry.k8s.io", true, busy(lane(1, "k8s", balancer.StateServing, "", 0), 31, 0, 96))},
		},
		Cache: &cache.Snapshot{
			Stats:    blobstore.Stats{Dir: "/var/cache/pullchain", Bytes: 18<<30 + 200<<20, Limit: 50 << 30, Free: 100 << 30, Objects: 1234, Oldest: in(-240 * time.Hour), Scanned: true, Evictions: 31},
			Requests: map[string]map[string]uint64{"blob": {"hit": 718, "miss": 282}}, Hits: 718, Misses: 282, HitRatio: 0.718, SavedBytes: 9<<30 + 400<<20, Coalesced: 14,
		},
	}
	s.Summary = admin.Summarize(s.Chains(), s.Cache, s.Now, s.Warnings...)
	return s
}

// troubled is a daemon with most of what can be the matter.
func troubled() admin.Snapshot {
	s := healthy()
	hub := busy(lane(1, "docker-hub", balancer.StateCooling, pullchain.CodeQuota, 14*time.Minute), 900, 100, 212)
	hub.Via, hub.Host, hub.Addresses = "home", "registry-1.docker.io", []string{"127.0.0.1"}
	hub.Blobs = &balancer.BlobsSnapshot{Host: "production.cloudflare.docker.com"}
	hub.Breakers = []balancer.BreakerSnapshot{{Class: "manifest", State: "closed", Requests: 40, Failures: 2}, {Class: "blob", State: "open", Until: in(20 * time.Second), Requests: 12, Failures: 8, Trips: 2}}
	hub.Cooldowns = []balancer.CooldownSnapshot{{Class: "manifest", Until: now.Add(14 * time.Minute), Asked: true, Code: pullchain.CodeQuota}}
	hub.Gates = []balancer.GateSnapshot{{Gate: "cooldown", Class: "manifest", Until: in(14 * time.Minute), Code: pullchain.CodeQuota}}
	hub.LastError = &balancer.ErrorSnapshot{At: now.Add(-12 * time.Second), Code: pullchain.CodeQuota, Status: 429, Text: `GET https://registry-1.docker.io/v2/library/alpine/manifests/3.20: 429 Too Many Requests: {"errors":[{"code":"TOOMANYREQUESTS"}]}`}
	hub.TLSExpiry, hub.TLSIssuer, hub.Throughput, hub.InFlight = in(61*24*time.Hour), "Amazon RSA 2048 M02", 11<<20, 3
	hub.Quota = &balancer.QuotaSnapshot{Limit: 100, WindowS: 21600, Source: "192.0.2.1", At: now.Add(-time.Minute)}
	docker := chain("docker.io", true, hub, busy(lane(2, "cf-worker", balancer.StateServing, "", 0), 100000, 1, 410), lane(3, "mirror-x", balancer.StateStandby, "", 0))
	docker.FailoversTotal = 12
	docker.Failovers = []balancer.Failover{
		{At: now.Add(-12 * time.Second), From: "docker-hub", To: "cf-worker", Phase: "manifest", Code: pullchain.CodeQuota, AddedMS: 38, Image: "docker.io/library/alpine:3.20"},
		{At: now.Add(-time.Hour), From: "docker-hub", To: "cf-worker", Phase: "blob_mid", Code: pullchain.CodeStall, Offset: 1887436, AddedMS: 10003, Image: "docker.io/library/alpine@" + sum},
		{At: now.Add(-26 * time.Hour), From: "cf-worker", To: "mirror-x", Phase: "blob_start", Code: pullchain.CodeServerError, AddedMS: 220, Image: "docker.io/library/postgres@" + sum},
	}
	s.Registries[0].Snapshot = docker
	s.Registries[0].Served = []admin.Served{
		{Class: "manifest", Upstream: "cf-worker", Requests: 42, Minutes: 10}, {Class: "manifest", Requests: 7, Minutes: 10}, {Class: "blob", Upstream: "docker-hub", Requests: 120, Minutes: 10},
	}
	s.Registries[0].Probes = []healthcheck.TargetSnapshot{{Name: "docker-hub", Known: true, Up: true, Since: now.Add(-76 * time.Hour), Next: now.Add(20 * time.Second), History: []healthcheck.Result{{At: now.Add(-70 * time.Second), TookMS: 5000, Error: "context deadline exceeded"}, {At: now.Add(-40 * time.Second), TookMS: 212}, {At: now.Add(-10 * time.Second), TookMS: 198.5}}}, {Name: "cf-worker", Known: true, Up: true, Falling: 1, Fall: 3}}
	quay := lane(1, "quay", balancer.StateDown, pullchain.CodeConnTimeout, 0)
	quay.Error = "dial tcp: \x1b[2Jtimeout"
	spare := lane(2, "mirror-x", balancer.StateDrained, pullchain.Code("admin"), 0)
	s.Registries[2].Snapshot = chain("quay.io", false, quay, spare)
	s.Config.LastReloadOK, s.Config.LastReloadAt, s.Config.LastReloadError = false, in(-time.Minute), `pullchain.toml:3:1: server: unknown key "lisen"`
	s.Overrides = []admin.Override{
		{Kind: admin.KindReorder, Registry: "docker.io", Order: []string{"docker-hub", "cf-worker", "mirror-x"}, Actor: "uid 1000", At: now.Add(-time.Hour), ExpiresAt: now.Add(time.Hour)},
		{Kind: admin.KindDrain, Registry: "quay.io", Upstream: "mirror-x", Actor: "127.0.0.1", Reason: "disk is being replaced", At: now.Add(-4 * time.Second), ExpiresAt: now.Add(38 * time.Minute)},
	}
	s.Egresses = []diagnose.Egress{{Name: "home", URL: "socks5://127.0.0.1:7890", Upstreams: []string{"docker.io/docker-hub"}}}
	s.Warnings = []diagnose.Warning{
		{ID: "quota_spent docker.io/docker-hub", Code: diagnose.QuotaSpent, Severity: diagnose.Degraded, Since: now.Add(-14 * time.Minute), Affects: []string{"docker.io/docker-hub"},
			Values: map[string]string{"registry": "docker.io", "upstream": "docker-hub", "until_s": "840"}, Fix: "pullchain status docker.io"},
		{ID: "reload_failed", Code: diagnose.ReloadFailed, Severity: diagnose.Degraded, Since: now.Add(-time.Minute), Values: map[string]string{"error": `pullchain.toml:3:1: server: unknown key "lisen"`}, Fix: "pullchain config validate"},
	}
	s.Registries[0].Reordered = s.Overrides[0].Order
	s.Summary = admin.Summarize(s.Chains(), s.Cache, s.Now, s.Warnings...)
	return s
}

// dead is a daemon that nothing can be pulled through.
func dead() admin.Snapshot {
	s := healthy()
	for i := range s.Registries {
		r := &s.Registries[i]
		r.Pullable, r.Served = false, nil
		for j := range r.Lanes {
			r.Lanes[j].State, r.Lanes[j].Code = balancer.StateDown, pullchain.CodeDNS
		}
	}
	s.Warnings = []diagnose.Warning{{ID: "dns_down", Code: diagnose.DNSDown, Severity: diagnose.Critical, Since: now.Add(-3 * time.Minute), Values: map[string]string{"host": "registry-1.docker.io"}, Fix: "getent hosts registry-1.docker.io",
		Affects: []string{"docker.io/docker-hub", "docker.io/cf-worker", "docker.io/mirror-x", "ghcr.io/ghcr", "quay.io/quay", "quay.io/mirror-x", "registry.k8s.io/k8s"}}}
	s.Summary = admin.Summarize(s.Chains(), s.Cache, s.Now, s.Warnings...)
	return s
}
