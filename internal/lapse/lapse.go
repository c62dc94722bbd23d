// Package lapse tells what time has passed by two clocks at once: the monotonic one, which
// stands still while a machine sleeps, and the one on the wall, which can be set. It decides
// nothing but which of the two counts.
//
// What is to end counts by the clock that says so first. After a night's sleep a pause of six
// hours is over; and a clock that is set back by a day makes none longer, for the monotonic
// one goes on. The price is paid where a clock is set forward: then a pause ends early, which
// costs a question (docs/faults.md F60).
//
// A time that comes from a file or a header has no reading of the monotonic clock. Two times
// of which one has none are compared by the wall alone, so that what is read from a file is
// to be bounded by its reader, and made a time of this process: now.Add(what is left).
package lapse

import "time"

// Left returns how long it is from now to until by the clock that says less, and 0 once
// either says that it has come. A zero until has come.
func Left(until, now time.Time) time.Duration {
	return max(0, min(until.Sub(now), until.Round(0).Sub(now.Round(0))))
}

// Over reports whether until has come by either clock.
func Over(until, now time.Time) bool { return Left(until, now) == 0 }

// Age returns how long ago at was by the clock that says more. It is never less than 0: a
// time to come, which a clock that has been set back leaves behind, is now.
func Age(at, now time.Time) time.Duration {
	return max(0, now.Sub(at), now.Round(0).Sub(at.Round(0)))
}

// Anew returns until by the clocks as they stand at now: until itself, unless the clock has
// been set since, or the machine has slept. A zero until stays zero.
func Anew(until, now time.Time) time.Time {
	wall, steady := until.Round(0).Sub(now.Round(0)), until.Sub(now)
	if until.IsZero() || (wall-steady).Abs() < time.Second {
		return until
	}
	return now.Add(Left(until, now))
}

// Shown is Anew for people to read: after a jump it is of whole seconds, for it is worked out
// each time.
func Shown(until, now time.Time) time.Time {
	if anew := Anew(until, now); anew != until {
		return anew.Round(time.Second)
	}
	return until
}
