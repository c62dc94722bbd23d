package admin_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/messages"
)

// The table tells who has served what, and whose quota was spared by it.
func TestServed(t *testing.T) {
	t.Parallel()
	worker := admin.Served{Class: "manifest", Upstream: "cf-worker", Requests: 42, Minutes: 10}
	hub := admin.Served{Class: "manifest", Upstream: "docker-hub", Requests: 3, Minutes: 10}
	cached := admin.Served{Class: "manifest", Requests: 100, Minutes: 10}
	blobs := admin.Served{Class: "blob", Upstream: "docker-hub", Requests: 120, Minutes: 10}
	low := &balancer.QuotaSnapshot{Limit: 100, Remaining: 9, At: now}
	const both = "docker.io, last 10 min: manifests by cf-worker 42, docker-hub 3"
	tests := []struct {
		name   string
		served []admin.Served
		quota  *balancer.QuotaSnapshot // of docker-hub
		lang   string
		want   string // empty: no line
	}{
		{"nothing", nil, low, "en", ""},
		{"spared", []admin.Served{worker, blobs}, low, "en", "docker.io, last 10 min: manifests by cf-worker 42 (docker-hub's quota is spared); blobs by docker-hub 120"},
		{"in Chinese", []admin.Served{worker, blobs}, low, "zh", "docker.io 最近 10 分钟：清单由 cf-worker 42（节省 docker-hub 的额度）；数据块由 docker-hub 120"},
		{"the cache most of all", []admin.Served{cached, worker}, low, "en", "docker.io, last 10 min: manifests by the cache 100, cf-worker 42 (docker-hub's quota is spared)"},
		{"blobs alone", []admin.Served{blobs}, low, "en", "docker.io, last 10 min: blobs by docker-hub 120"},
		{"enough left", []admin.Served{worker, hub}, &balancer.QuotaSnapshot{Limit: 100, Remaining: 11, At: now}, "en", both},
		{"nothing left to spare", []admin.Served{worker, hub}, &balancer.QuotaSnapshot{Limit: 100, At: now}, "en", both},
		{"an old reading", []admin.Served{worker, hub}, &balancer.QuotaSnapshot{Limit: 100, Remaining: 9, At: now.Add(-10 * time.Minute)}, "en", both},
		{"no quota", []admin.Served{worker, hub}, nil, "en", both},
		{"its own", []admin.Served{hub, worker}, low, "en", "docker.io, last 10 min: manifests by docker-hub 3, cf-worker 42"},
		{"the cache alone", []admin.Served{cached}, low, "en", "docker.io, last 10 min: manifests by the cache 100"},
	}
	for _, tt := range tests {
		s := snapshot()
		s.Registries = s.Registries[:1]
		s.Registries[0].Served, s.Registries[0].Lanes[0].Quota = tt.served, tt.quota
		var b strings.Builder
		if err := admin.WriteTable(&b, s, admin.TableOptions{Messages: messages.In(tt.lang)}); err != nil {
			t.Fatal(err)
		}
		if tt.want != "" && !strings.Contains(b.String(), "\n"+tt.want+"\n") || tt.want == "" && strings.Contains(b.String(), "last 10 min") {
			t.Errorf("%s: no line %q in\n%s", tt.name, tt.want, b.String())
		}
	}
}
