package notify

import (
	"slices"
	"strings"
	"time"
)

// A Change is what a webhook is told: a thing went to another level and stayed
// there.
type Change struct {
	Condition           // as it stands now; its Level is where it went
	From      Level     // that was told before
	Began     time.Time // of the trouble
	Ended     time.Time // of the trouble; zero while it goes on
	Again     bool      // nothing is new: it was told repeat_after ago

	seq uint64 // of the queue that it is in
}

// A tracker decides for one webhook what is news. It holds what was told last of
// each thing, in memory alone: after a restart, trouble that is still there is told
// once more, and what is well is not told at all.
type tracker struct {
	cfg    Config // with defaults
	things map[Key]*thing
}

// A thing is what is known of one Key.
type thing struct {
	level Level
	since time.Time // of level
	began time.Time // when it was last left for worse, after ok had been told
	said  Level     // what was told last
	at    time.Time // when
	last  Condition // the last one that was not ok
}

func newTracker(cfg Config) *tracker {
	return &tracker{cfg: cfg.WithDefaults(), things: map[Key]*thing{}}
}

// observe takes in how all things stand at now, and returns what is to be told, and
// when the next could become so by time alone; zero if none does.
func (t *tracker) observe(now time.Time, conditions []Condition) (changes []Change, next time.Time) {
	seen := map[Key]bool{}
	for _, c := range conditions {
		seen[c.Key] = true
		t.see(now, c)
	}
	for key, th := range t.things {
		switch {
		case seen[key]:
		case key.Code == CodeRegistry: // it is gone from the configuration, which is no recovery
			delete(t.things, key)
			continue
		default: // a cause that is gone is over
			t.see(now, Condition{Key: key})
		}
		due := t.due(th)
		switch {
		case due.IsZero():
			if th.level == OK && th.said == OK {
				delete(t.things, key)
			}
		case due.After(now):
			if next.IsZero() || due.Before(next) {
				next = due
			}
		default:
			changes = append(changes, th.tell(now))
			if more := t.due(th); !more.IsZero() && (next.IsZero() || more.Before(next)) {
				next = more
			}
		}
	}
	slices.SortFunc(changes, func(a, b Change) int {
		if a.Level != b.Level {
			return int(b.Level - a.Level)
		}
		return strings.Compare(a.Code+"\x00"+a.Subject, b.Code+"\x00"+b.Subject)
	})
	return changes, next
}

// see takes in one condition.
func (t *tracker) see(now time.Time, c Condition) {
	if c.Level == Degraded && t.cfg.MinLevel == Outage.String() {
		c.Level = OK
	}
	th := t.things[c.Key]
	if th == nil {
		if c.Level == OK || c.Covered {
			return
		}
		th = &thing{}
		t.things[c.Key] = th
	}
	// What is covered is neither news nor over: it stays as it was told.
	if c.Covered {
		c.Level = th.said
	}
	if c.Level != OK {
		th.last = c
	}
	if c.Level == th.level {
		return
	}
	if th.level == OK && th.said == OK {
		th.began = now
		if !c.Since.IsZero() && c.Since.Before(now) {
			th.began = c.Since
		}
	}
	th.level, th.since = c.Level, now
}

// due is when th is to be told; zero: never, as things are.
func (t *tracker) due(th *thing) time.Time {
	if th.level == th.said {
		if every := *t.cfg.RepeatAfter; th.level != OK && every > 0 {
			return th.at.Add(every)
		}
		return time.Time{}
	}
	at := th.since.Add(t.hold(th.level))
	// A registry that wavers between degraded and outage is in trouble all the time.
	if wavering := th.began.Add(t.cfg.DegradedAfter); th.said == OK && wavering.Before(at) && th.level != OK {
		return latest(wavering, th.since)
	}
	return at
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// hold is how long a level has to hold before it is news.
func (t *tracker) hold(l Level) time.Duration {
	switch l {
	case Outage:
		return t.cfg.OutageAfter
	case Degraded:
		return t.cfg.DegradedAfter
	}
	return t.cfg.RecoveredAfter
}

// tell makes the Change of what is due.
func (th *thing) tell(now time.Time) Change {
	c := Change{Condition: th.last, From: th.said, Began: th.began, Again: th.level == th.said}
	c.Level = th.level
	if th.level == OK {
		c.Ended = th.since
	}
	th.said, th.at = th.level, now
	return c
}

// clone returns what is known of all things, for the tracker of another configuration.
func (t *tracker) clone() map[Key]*thing {
	out := map[Key]*thing{}
	for key, th := range t.things {
		same := *th
		out[key] = &same
	}
	return out
}
