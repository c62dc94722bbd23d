package warm

import (
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/clocktest"
)

// TestF60_ClockOfSchedules sets the clock by a day while one table is due in six hours, and
// another an hour after: after a day forward, which is what a sleep of a day is, the first is
// due; after a day back in six hours, as before, and so it is told.
func TestF60_ClockOfSchedules(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, c := range []struct {
		name  string
		set   time.Duration
		later time.Duration // by the clock that is not set
		due   bool
	}{
		{"a day back", -day, 0, false},
		{"a day back, six hours later", -day, 6 * time.Hour, true},
		{"a day forward, or of sleep", day, 0, true},
	} {
		s := NewScheduler(Options{})
		s.Set([]Config{{Images: []string{"alpine"}, Every: day}, {Images: []string{"busybox"}, Every: day}})
		for i, p := range s.plans {
			p.next = clocktest.Set(time.Now().Add(time.Duration(6+i)*time.Hour-c.later), -c.set)
		}
		next := *s.Plans()[0].Next
		if left := next.Round(0).Sub(time.Now().Round(0)); !c.due && (left > 6*time.Hour+time.Second || left < 6*time.Hour-time.Minute) {
			t.Errorf("%s: it is told to be due in %v", c.name, left)
		}
		p, wait := s.due()
		if (p == s.plans[0]) != c.due || wait > time.Minute {
			t.Errorf("%s: due: %v, want %v; else looked at again in %v", c.name, p != nil, c.due, wait)
		}
	}
}
