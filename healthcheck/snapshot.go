package healthcheck

import "time"

// A TargetSnapshot is what is known of one Target at one moment.
type TargetSnapshot struct {
	Name    string    `json:"name"`
	Known   bool      `json:"known"`   // at least one probe was counted
	Up      bool      `json:"up"`      // by rise and fall; true while not Known
	Since   time.Time `json:"since"`   // when Up last changed, or of the first probe; zero while not Known
	Rising  int       `json:"rising"`  // passes in a row, while not Up
	Rise    int       `json:"rise"`    // passes that it takes
	Falling int       `json:"falling"` // failures in a row
	Fall    int       `json:"fall"`    // failures that it takes
	Next    time.Time `json:"next"`    // when the next probe is due at the present pace; zero if it is due now
	History []Result  `json:"history"` // oldest first; older than the newest few are only failures
	Counts  Counts    `json:"-"`       // for scrapers: a poller is not to be told of each probe
}

// Snapshot returns a copy of what is known, in the order of the jobs.
func (c *Checker) Snapshot() []TargetSnapshot {
	out := make([]TargetSnapshot, 0, len(c.watches))
	for _, w := range c.watches {
		out = append(out, w.snapshot())
	}
	return out
}

func (w *watch) snapshot() TargetSnapshot {
	name := w.target.Name()
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &w.record
	history := make([]Result, 0, len(r.failures)+len(r.recent)) // [] and not null in JSON
	history = append(append(history, r.failures...), r.recent...)
	return TargetSnapshot{
		Name:    name,
		Known:   r.known,
		Up:      r.up,
		Since:   r.since,
		Rising:  r.rising,
		Rise:    w.cfg.Rise,
		Falling: r.falling,
		Fall:    w.cfg.Fall,
		Next:    w.next,
		History: history,
		Counts:  r.counts.clone(),
	}
}
