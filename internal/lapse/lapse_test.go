package lapse_test

import (
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/clocktest"
	"github.com/pullchain/pullchain/internal/lapse"
)

// What an hour's pause has become ten minutes after it began, by what the clock on the wall
// was set meanwhile.
func TestF60_ClockOfAPause(t *testing.T) {
	t.Parallel()
	began := time.Now()
	until := began.Add(time.Hour)
	const day = 24 * time.Hour
	for _, c := range []struct {
		name      string
		set       time.Duration
		left, age time.Duration
		shown     time.Duration // after now
	}{
		{"not at all", 0, 50 * time.Minute, 10 * time.Minute, 50 * time.Minute},
		{"a day back", -day, 50 * time.Minute, 10 * time.Minute, 50 * time.Minute},
		{"half an hour forward", 30 * time.Minute, 20 * time.Minute, 40 * time.Minute, 20 * time.Minute},
		{"a day forward", day, 0, day + 10*time.Minute, 0},
	} {
		now := clocktest.Set(began.Add(10*time.Minute), c.set)
		if got := lapse.Left(until, now); got != c.left || lapse.Over(until, now) != (c.left == 0) {
			t.Errorf("%s: %v is left, want %v; over: %v", c.name, got, c.left, lapse.Over(until, now))
		}
		if got := lapse.Age(began, now); got != c.age {
			t.Errorf("%s: it is %v old, want %v", c.name, got, c.age)
		}
		if got := lapse.Shown(until, now).Round(0).Sub(now.Round(0)); (got - c.shown).Abs() > time.Second {
			t.Errorf("%s: it is shown to end in %v, want %v", c.name, got, c.shown)
		}
	}
}

// A time from a file has one clock, and one that was never is over and stays so.
func TestOneClock(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		name  string
		until time.Time
		left  time.Duration
	}{
		{"never", time.Time{}, 0},
		{"past", now.Add(-time.Minute).Round(0), 0},
		{"to come", now.Add(time.Minute).Round(0), time.Minute},
	} {
		if got := lapse.Left(c.until, now); got != c.left {
			t.Errorf("%s: %v is left, want %v", c.name, got, c.left)
		}
		if got := lapse.Shown(c.until, now); !got.Equal(c.until) {
			t.Errorf("%s: it is shown as %v", c.name, got)
		}
	}
	if age := lapse.Age(now.Add(time.Hour).Round(0), now); age != 0 {
		t.Errorf("a time to come is %v old", age)
	}
}
