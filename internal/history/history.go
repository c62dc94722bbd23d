// Package history keeps what was seen of each upstream of each registry, for an hour
// in minutes, a day in quarters of an hour and thirty days in quarters of a day: the
// bars of the dashboard. What probes and what pulls have shown is one history.
//
// It takes plain values and returns plain values, and knows no other room: the daemon
// tells it every few seconds how things stand ([Rings.Observe]). It takes the time from
// its caller, so that a clock that jumps does to it what the caller's clock does.
//
// Memory is bounded: about 22 KB for an upstream (TestMemory), whatever happens. There
// are as many as were observed last, those that have been gone for less than [Kept],
// and never more than [maxGone] of those.
//
// A state's "since" is not kept over a restart, for that would be a claim about a time in
// which no pullchain looked. What was seen before the restart is in the cells.
package history

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// A Window is how far back to look.
type Window string

// The windows, with the length of their cells.
const (
	Hour  Window = "1h"  // 60 cells of a minute
	Day   Window = "24h" // 96 cells of a quarter of an hour
	Month Window = "30d" // 120 cells of six hours
)

// A shape is how many cells a ring has and how long each is.
type shape struct {
	window Window
	cells  int
	period time.Duration
}

var shapes = [...]shape{
	{Hour, 60, time.Minute},
	{Day, 96, 15 * time.Minute},
	{Month, 120, 6 * time.Hour},
}

// Period returns how long one cell of the window is; 0 for a window that there is not.
func (w Window) Period() time.Duration {
	for _, s := range shapes {
		if s.window == w {
			return s.period
		}
	}
	return 0
}

// Kept is how long the history of an upstream that is no longer observed is kept.
const Kept = 30 * 24 * time.Hour

// maxGone is how many upstreams are kept that are no longer observed: a configuration
// whose names change with each reload must not fill the memory.
const maxGone = 256

// An Observation is how an upstream stands. Its counters count up from when the
// upstream was made; one that is less than it was begins anew.
type Observation struct {
	Registry, Upstream string

	State string // one of the states' words
	Code  string // why, if there is a reason
	Seen  []Sight

	OK, Failed             uint64            // requests of clients
	SaidNo                 uint64            // of Failed: the upstream has not what was asked for, or does not give it
	Limited                uint64            // of Failed: it was asked too often
	Broken                 uint64            // of Failed: content that broke off or was wrong
	ProbesOK, ProbesFailed uint64            // probes
	Codes                  map[string]uint64 // failed requests by reason
	Waits                  []Waits           // for the first byte of an answer, for each class of requests
	ProbeWaits             Waits
	Received               uint64 // bytes of content
	Rates                  Rates
	Quota                  *Quota // what it said last; nil: nothing
}

// A Sight is a state that began since the Observation before, however short it was.
type Sight struct {
	At    time.Time
	State string
	Code  string
}

// Waits are how long the last answers took, and how many answers there were in all.
type Waits struct {
	Total  uint64
	LastMS []float64 // milliseconds, oldest first
}

// Rates are how fast the last bodies of blobs came, and how many of them there were in all.
type Rates struct {
	Total uint64
	Last  []float64 // bytes per second, oldest first
}

// A Quota is what an upstream said of how often it may still be asked.
type Quota struct {
	Limit, Remaining int
	At               time.Time // it said so
}

// A Cell is what was seen in one stretch of time.
type Cell struct {
	Start        time.Time `json:"start"`
	State        string    `json:"state"` // the worst (see [Worse]); empty: nothing is known of this time
	OK           uint64    `json:"ok"`    // requests of clients
	Failed       uint64    `json:"failed"`
	SaidNo       uint64    `json:"said_no"` // of failed: it has not what was asked for, or does not give it
	Limited      uint64    `json:"limited"` // of failed: it was asked too often
	Broken       uint64    `json:"broken"`  // of failed: content that broke off or was wrong
	ProbesOK     uint64    `json:"probes_ok"`
	ProbesFailed uint64    `json:"probes_failed"`
	P50MS        float64   `json:"p50_ms"` // to the first byte of an answer, of a probe's where there was no other; 0 is none
	P95MS        float64   `json:"p95_ms"`
	Code         string    `json:"code"` // why the state is what it is, else the most frequent reason of failed requests

	Received       uint64 `json:"received_bytes"`             // of content, to a KiB
	RateP50        int64  `json:"throughput_p50_bytes_per_s"` // of single blobs, while their bytes came; 0 is none
	RateP95        int64  `json:"throughput_p95_bytes_per_s"`
	QuotaLimit     int64  `json:"quota_limit"`     // 0: it said nothing of a quota
	QuotaRemaining int64  `json:"quota_remaining"` // the least that it said
}

// Rings are the histories of all upstreams. They are safe for concurrent use.
type Rings struct {
	mu    sync.Mutex
	lanes map[key]*lane
	codes codeTable
}

type key struct{ registry, upstream string }

// New returns Rings without any history.
func New() *Rings { return &Rings{lanes: map[key]*lane{}} }

// Observe enters how all upstreams stand at now. One that is not among them is gone
// from the configuration.
func (r *Rings) Observe(now time.Time, all []Observation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range all {
		k := key{o.Registry, o.Upstream}
		l := r.lanes[k]
		if l == nil {
			l = newLane()
			r.lanes[k] = l
		}
		l.observe(now, o, &r.codes)
	}
	r.dropLocked(now, len(all))
}

// dropLocked forgets upstreams that have long been gone.
func (r *Rings) dropLocked(now time.Time, live int) {
	for k, l := range r.lanes {
		if now.Sub(l.seen) > Kept {
			delete(r.lanes, k)
		}
	}
	if len(r.lanes) <= live+maxGone {
		return
	}
	var keys []key
	for k := range r.lanes {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(r.lanes[b].seen.Compare(r.lanes[a].seen), cmp.Compare(a.registry, b.registry), cmp.Compare(a.upstream, b.upstream))
	})
	for _, k := range keys[live+maxGone:] {
		delete(r.lanes, k)
	}
}

// Cells returns the cells of an upstream up to that of now, oldest first. They are as
// many as the window has, those of which nothing is known among them. It returns
// nil for an upstream that was never observed, and for a window that there is not.
func (r *Rings) Cells(registry, upstream string, w Window, now time.Time) []Cell {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[key{registry, upstream}]
	if l == nil {
		return nil
	}
	for i, s := range shapes {
		if s.window == w {
			return l.rings[i].read(now, &r.codes)
		}
	}
	return nil
}

// Unknown returns the cells of an upstream that was never observed, up to that of now;
// nil for a window that there is not.
func Unknown(w Window, now time.Time) []Cell {
	for _, s := range shapes {
		if s.window == w {
			empty := ring{shape: s}
			return empty.read(now, nil)
		}
	}
	return nil
}

// A lane is the history of one upstream.
type lane struct {
	rings [len(shapes)]ring
	last  Observation // without what is not compared: see remember
	seen  time.Time   // it was observed last
}

func newLane() *lane {
	l := &lane{}
	for i := range l.rings {
		l.rings[i].shape = shapes[i]
	}
	return l
}

// observe enters o. A state lasts until the next begins, so the one before a Sight is
// seen at its time as well: it may have lasted from one cell into the next.
func (l *lane) observe(now time.Time, o Observation, codes *codeTable) {
	d := l.difference(o)
	for i := range l.rings {
		r := &l.rings[i]
		r.rewind(now)
		before := Sight{State: l.last.State, Code: l.last.Code}
		for _, s := range o.Seen {
			if s.At.Unix() > now.Unix() {
				continue // of a clock that has been put back since
			}
			if before.State != "" {
				r.see(s.At, before, codes)
			}
			r.see(s.At, s, codes)
			before = s
		}
		r.see(now, Sight{State: o.State, Code: o.Code}, codes)
		r.add(now, d, codes)
	}
	l.remember(o)
	l.seen = now
}

// A difference is what has happened between two observations.
type difference struct {
	ok, failed, saidNo, limited, broken uint64
	probesOK, probesFailed, received    uint64
	codes                               map[string]uint64
	waits, probeWaits, rates            []float64
	quota                               *Quota
}

// difference returns what o has more than the observation before.
func (l *lane) difference(o Observation) difference {
	d := difference{
		ok: more(l.last.OK, o.OK), failed: more(l.last.Failed, o.Failed), received: more(l.last.Received, o.Received),
		saidNo: more(l.last.SaidNo, o.SaidNo), limited: more(l.last.Limited, o.Limited), broken: more(l.last.Broken, o.Broken),
		probesOK: more(l.last.ProbesOK, o.ProbesOK), probesFailed: more(l.last.ProbesFailed, o.ProbesFailed),
		codes:      map[string]uint64{},
		probeWaits: newest(o.ProbeWaits.LastMS, l.last.ProbeWaits.Total, o.ProbeWaits.Total),
		rates:      newest(o.Rates.Last, l.last.Rates.Total, o.Rates.Total),
	}
	if o.Quota != nil && (l.last.Quota == nil || !l.last.Quota.At.Equal(o.Quota.At)) {
		d.quota = o.Quota
	}
	for code, n := range o.Codes {
		if n := more(l.last.Codes[code], n); n > 0 {
			d.codes[code] = n
		}
	}
	for i, w := range o.Waits {
		var before uint64
		if i < len(l.last.Waits) {
			before = l.last.Waits[i].Total
		}
		d.waits = append(d.waits, newest(w.LastMS, before, w.Total)...)
	}
	return d
}

// more is by how much a counter has grown, or all of it if it began anew.
func more(before, now uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// newest returns those of the last values that are new, now that there are total in all
// and before were before. Of many only the last are known, which is enough for percentiles.
func newest(last []float64, before, total uint64) []float64 {
	n := min(more(before, total), uint64(len(last)))
	return last[uint64(len(last))-n:]
}

// remember keeps what the next observation is compared with. The waits themselves
// are not, and would hold on to their caller's memory.
func (l *lane) remember(o Observation) {
	o.Seen, o.ProbeWaits.LastMS, o.Rates.Last = nil, nil, nil
	if o.Quota != nil {
		o.Quota = &Quota{At: o.Quota.At}
	}
	waits := make([]Waits, len(o.Waits))
	for i, w := range o.Waits {
		waits[i].Total = w.Total
	}
	o.Waits = waits
	l.last = o
}
