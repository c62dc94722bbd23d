package traffic

import (
	"testing"
	"time"

	"github.com/pullchain/pullchain"
)

// TestF60_ClockOfServed: what was counted before the clock was set by a day, in either
// direction, is not of the last minutes; what is counted since is.
func TestF60_ClockOfServed(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]time.Duration{"a day forward": -24 * time.Hour, "a day back": 24 * time.Hour} {
		j := New()
		r := &registry{name: "docker.io", requests: map[countKey]uint64{}, served: map[servedKey]*minutes{}}
		j.registries[r.name] = r
		old, now := servedKey{"a", pullchain.ClassBlob}, servedKey{"b", pullchain.ClassBlob}
		r.serve(old, time.Now().Add(before))
		if got := j.Served(r.name); len(got) != 0 {
			t.Errorf("%s: %+v", name, got)
		}
		r.serve(old, time.Now().Add(before))
		r.serve(old, time.Now())
		r.serve(now, time.Now())
		if got := j.Served(r.name); len(got) != 2 || got[0].Requests != 1 || got[1].Requests != 1 {
			t.Errorf("%s: %+v, want one request of each", name, got)
		}
	}
}
