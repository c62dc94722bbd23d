// Package clocktest makes the times that there are after the clock on the wall has been set,
// or the machine has slept. Only tests import it: a real clock cannot be set by a test
// without setting it for all that runs beside it, and synctest's never jumps.
package clocktest

import (
	"time"
	"unsafe"
)

// A Jump is how a clock is set, as a test's case.
type Jump struct {
	Name string
	By   time.Duration
}

// Jumps are a day forward and a day back. To a process a machine's sleep is the first:
// the clock on the wall has gone on, and the monotonic one has not.
var Jumps = []Jump{
	{"a day forward, or of sleep", 24 * time.Hour},
	{"a day back", -24 * time.Hour},
}

// Set returns t as it would have been read from a clock on the wall that was set by by,
// whole seconds: with the same reading of the monotonic clock. It panics if t has none.
func Set(t time.Time, by time.Duration) time.Time {
	out := t
	// The seconds of the wall are the 33 bits above the nanoseconds', which are 30 (type
	// time.Time). Sums wrap round as they should.
	*(*uint64)(unsafe.Pointer(&out)) += uint64(by/time.Second) << 30
	if by%time.Second != 0 || out.Sub(t) != 0 || out.Round(0).Sub(t.Round(0)) != by {
		panic("clocktest: this is no time with two readings, or time.Time is made otherwise by now")
	}
	return out
}

// Shift sets each of times, those that are zero aside, as if the clock had been set by by
// after they were taken: the clock is then ahead of them by as much.
func Shift(by time.Duration, times ...*time.Time) {
	for _, t := range times {
		if !t.IsZero() {
			*t = Set(*t, -by)
		}
	}
}
