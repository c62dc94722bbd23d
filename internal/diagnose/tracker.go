package diagnose

import (
	"sync"
	"time"
)

// A Tracker remembers since when each warning has been known, for as long as it
// stands. The zero Tracker is ready to use. It is safe for concurrent use.
type Tracker struct {
	mu    sync.Mutex
	since map[string]time.Time // by ID
}

// Keep sets the Since of warnings to the earliest that was known of each, and forgets
// those that are not among them.
func (t *Tracker) Keep(warnings []Warning) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.since
	t.since = make(map[string]time.Time, len(warnings))
	for i := range warnings {
		w := &warnings[i]
		if known, ok := before[w.ID]; ok && known.Before(w.Since) {
			w.Since = known
		}
		t.since[w.ID] = w.Since
	}
}
