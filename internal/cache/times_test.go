package cache

import (
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/clocktest"
)

// TestF60_ClockOfBelief: what was so half a minute ago, with a clock that has been set since.
// A clock that was set costs a question, and takes nothing away.
func TestF60_ClockOfBelief(t *testing.T) {
	t.Parallel()
	var rules times
	rules.set(nil, 0)
	at := time.Now()
	now := at.Add(30 * time.Second)
	const day = 24 * time.Hour
	for _, c := range []struct {
		name           string
		now            time.Time
		fresh, lasting bool
	}{
		{"not set", now, true, true},
		{"a day back", clocktest.Set(now, -day), false, true},
		{"a day forward, or of sleep", clocktest.Set(now, day), false, true},
		{"eight days of sleep", clocktest.Set(now, 8*day), false, false},
	} {
		if fresh, lasting := rules.fresh(at, c.now), rules.lasting(at, c.now); fresh != c.fresh || lasting != c.lasting {
			t.Errorf("%s: fresh %v, want %v; lasting %v, want %v", c.name, fresh, c.fresh, lasting, c.lasting)
		}
	}
}
