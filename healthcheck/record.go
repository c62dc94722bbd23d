package healthcheck

import (
	"slices"
	"strings"
	"time"
)

// maxError is how much of a probe's error is kept. The text may come from an
// upstream, and it is kept many times over.
const maxError = 256

// A record is what the probes of one Target have shown so far.
type record struct {
	known    bool // at least one probe was counted
	up       bool
	rising   int       // passes in a row, while down
	falling  int       // failures in a row
	since    time.Time // when up last changed; of the first probe if it never did
	recent   []Result  // oldest first
	failures []Result  // failures older than recent, oldest first
	counts   Counts
}

// clone returns a copy that shares nothing.
func (r *record) clone() record {
	c := *r
	c.recent = slices.Clone(r.recent)
	c.failures = slices.Clone(r.failures)
	c.counts = r.counts.clone()
	return c
}

// healthy reports whether the Target is up and its last probe passed.
func (r *record) healthy() bool { return r.known && r.up && r.falling == 0 }

// add enters a result and judges.
func (r *record) add(res Result, cfg Config) {
	r.remember(res, cfg.History)
	if !r.known {
		r.known, r.since = true, res.At
	}
	if !res.OK() {
		r.rising = 0
		r.falling++
		if r.up && r.falling >= cfg.Fall {
			r.up, r.since = false, res.At
		}
		return
	}
	r.falling = 0
	if r.up {
		return
	}
	r.rising++
	if r.rising >= cfg.Rise {
		r.up, r.since, r.rising = true, res.At, 0
	}
}

// remember keeps the last n results, and of those before them the last n
// failures: at a quarter of a minute each, passes would else have pushed out by
// lunch what went wrong at breakfast (blackbox_exporter's prober/history.go
// does the same).
func (r *record) remember(res Result, n int) {
	r.recent = append(r.recent, res)
	for len(r.recent) > n {
		if old := r.recent[0]; !old.OK() {
			r.failures = append(r.failures, old)
		}
		r.recent = slices.Delete(r.recent, 0, 1)
	}
	if extra := len(r.failures) - n; extra > 0 {
		r.failures = slices.Delete(r.failures, 0, extra)
	}
}

// result makes the Result of a probe that began at start and ended now.
func result(start time.Time, err error) Result {
	r := Result{At: start, TookMS: float64(time.Since(start).Microseconds()) / 1000}
	if err == nil {
		return r
	}
	r.Error = err.Error()
	if r.Error == "" {
		r.Error = "unknown error"
	}
	if len(r.Error) > maxError {
		r.Error = strings.ToValidUTF8(r.Error[:maxError-len("…")], "") + "…"
	}
	return r
}
