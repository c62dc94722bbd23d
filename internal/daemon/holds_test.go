package daemon

import (
	"testing"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/warm"
)

func TestHolds(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 20, 0, 0, 0, time.UTC)
	lane := func(change func(*balancer.LaneSnapshot)) balancer.LaneSnapshot {
		l := balancer.LaneSnapshot{Upstream: "hub", State: balancer.StateServing, Trust: "resolve", Eligible: true, Proved: true}
		if change != nil {
			change(&l)
		}
		return l
	}
	quota := func(left int, age time.Duration) balancer.LaneSnapshot {
		return lane(func(l *balancer.LaneSnapshot) {
			l.Quota = &balancer.QuotaSnapshot{Limit: 100, Remaining: left, WindowS: 21600, At: now.Add(-age)}
		})
	}
	free, metered := lane(nil), lane(func(l *balancer.LaneSnapshot) { l.Metered = true })
	closed := lane(func(l *balancer.LaneSnapshot) { l.Eligible, l.State = false, balancer.StateDown })
	pullOnly := lane(func(l *balancer.LaneSnapshot) { l.Trust = "pull" })
	for _, tt := range []struct {
		name  string
		lanes []balancer.LaneSnapshot
		want  string
	}{
		{"one that costs nothing", []balancer.LaneSnapshot{free}, ""},
		{"one that costs nothing, behind others", []balancer.LaneSnapshot{closed, metered, quota(1, time.Minute), free}, ""},
		{"only metered", []balancer.LaneSnapshot{metered}, warm.HeldMetered},
		{"only metered is left", []balancer.LaneSnapshot{closed, pullOnly, metered}, warm.HeldMetered},
		{"only little quota", []balancer.LaneSnapshot{quota(1, time.Minute)}, warm.HeldQuota},
		{"little quota, or money", []balancer.LaneSnapshot{metered, quota(0, time.Hour)}, warm.HeldQuota},
		{"enough quota", []balancer.LaneSnapshot{quota(80, time.Minute)}, ""},
		{"little quota in a window that is over", []balancer.LaneSnapshot{quota(1, 7*time.Hour)}, ""},
		{"none", []balancer.LaneSnapshot{closed, pullOnly}, warm.HeldUnreachable},
	} {
		c := balancer.Snapshot{Registry: "docker.io", Pullable: true, Proved: true, Lanes: tt.lanes}
		if got := holds(c, now); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := holds(balancer.Snapshot{Registry: "docker.io", Lanes: []balancer.LaneSnapshot{closed}}, now); got != warm.HeldUnreachable {
		t.Errorf("a registry without a path: %q", got)
	}
}
