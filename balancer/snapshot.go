package balancer

import (
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/lapse"
)

// A Snapshot is a chain as it stands, as plain values.
type Snapshot struct {
	Registry       string         `json:"registry"`
	Strategy       Strategy       `json:"strategy"`
	Pullable       bool           `json:"pullable"`  // some lane may be asked for a tag
	Proved         bool           `json:"proved"`    // and such a lane has been seen to work, by a probe or a request, since the process began
	Pinned         string         `json:"pinned"`    // the upstream that the operator wants asked first; empty for none
	Reordered      []string       `json:"reordered"` // the operator's order; null while it is the configured one
	Lanes          []LaneSnapshot `json:"upstreams"`
	Failovers      []Failover     `json:"failovers"` // the last, newest first
	FailoversTotal uint64         `json:"failovers_total"`
	Counts         Counts         `json:"-"`
}

// A LaneSnapshot is a lane as it stands, as plain values. A zero time is null.
type LaneSnapshot struct {
	Upstream      string             `json:"upstream"`
	Order         int                `json:"order"` // from 1, as configured
	State         string             `json:"state"`
	Since         *time.Time         `json:"since"` // it has been in this state
	Until         *time.Time         `json:"until"` // when the gate that is closed opens; null if that is not known
	Code          pullchain.Code     `json:"code"`  // why it is in this state
	Error         string             `json:"error"`
	Via           string             `json:"via"`
	Host          string             `json:"host"` // of the upstream's URL, with the port if that names one
	Trust         string             `json:"trust"`
	Authoritative bool               `json:"authoritative"`
	Metered       bool               `json:"metered"`
	InFlight      int64              `json:"in_flight"`
	Queued        int64              `json:"queued"`          // of those, requests that wait for one of our connections to come free
	Connections   int                `json:"max_connections"` // that there may be to one host
	Breakers      []BreakerSnapshot  `json:"breakers"`
	Cooldowns     []CooldownSnapshot `json:"cooldowns"`
	Gates         []GateSnapshot     `json:"gates"` // those that are closed
	Classes       []ClassSnapshot    `json:"classes"`
	Quota         *QuotaSnapshot     `json:"quota"`
	SkewMS        int64              `json:"skew_ms"`
	TLSExpiry     *time.Time         `json:"tls_expiry"`
	TLSIssuer     string             `json:"tls_issuer"`
	Throughput    int64              `json:"throughput_bytes_per_s"`     // of blobs, moving average
	ThroughputP50 int64              `json:"throughput_p50_bytes_per_s"` // of the last 32 blobs; 0 is none
	ThroughputP95 int64              `json:"throughput_p95_bytes_per_s"`
	IgnoresRange  bool               `json:"ignores_range"`
	Settled       bool               `json:"settled"`
	Flapping      bool               `json:"flapping"`
	LastError     *ErrorSnapshot     `json:"last_error"`
	First         bool               `json:"first"`    // it is asked for a tag first
	Eligible      bool               `json:"eligible"` // no gate keeps it from being asked for a manifest
	LastServed    *time.Time         `json:"last_served"`
	FirstServed   *time.Time         `json:"first_served"` // since the lane was made
	Proved        bool               `json:"proved"`       // it has been seen to work since then
	Failing       bool               `json:"failing"`      // its last probe failed
	Transitions   []Transition       `json:"transitions"`  // the last 20, newest first
	Counts        LaneCounts         `json:"-"`
	SilentSince   *time.Time         `json:"-"`           // requests or probes wait, and nothing has been heard of it since; it passes too soon to be told to pollers
	Heard         *time.Time         `json:"-"`           // the last sign of life
	LastOK        *time.Time         `json:"last_ok"`     // it last served something, or passed a probe
	Addresses     []string           `json:"addresses"`   // IP addresses that were last dialled, its own or its proxy's, the latest first
	Blobs         *BlobsSnapshot     `json:"blobs"`       // where its blobs lie, if that is elsewhere
	WrongBytes    *time.Time         `json:"wrong_bytes"` // it last sent bytes that their digest proved wrong
}

// A BlobsSnapshot is the host to which an upstream last redirected for a blob.
type BlobsSnapshot struct {
	Host     string         `json:"host"`
	FailedAt *time.Time     `json:"failed_at"` // when a blob last failed there; null if one has come whole since
	Code     pullchain.Code `json:"code"`      // of that failure
}

// A Transition is a change of a lane's state.
type Transition struct {
	At    time.Time      `json:"at"`
	From  string         `json:"from"`
	To    string         `json:"to"`
	Until *time.Time     `json:"until"` // when it was to end by itself; null if that was not known
	Code  pullchain.Code `json:"code"`
}

// A BreakerSnapshot is a breaker as it stands.
type BreakerSnapshot struct {
	Class               string         `json:"class"`
	State               string         `json:"state"`
	Until               *time.Time     `json:"until"`
	Code                pullchain.Code `json:"code"`
	Requests            uint32         `json:"requests"` // in the window
	Failures            uint32         `json:"failures"`
	Excluded            uint32         `json:"excluded"`
	ConsecutiveFailures uint32         `json:"consecutive_failures"`
	Trips               int            `json:"trips"` // in the last ten minutes
}

// A CooldownSnapshot is a cooldown that is closed or waits for a look.
type CooldownSnapshot struct {
	Class string         `json:"class"`
	Until time.Time      `json:"until"`
	Asked bool           `json:"asked"` // the upstream named the time
	Code  pullchain.Code `json:"code"`
}

// A GateSnapshot is a gate that is closed for some class.
type GateSnapshot struct {
	Gate  string         `json:"gate"`
	Class string         `json:"class"`
	Until *time.Time     `json:"until"`
	Code  pullchain.Code `json:"code"`
}

// A ClassSnapshot counts what a lane did for one class since it was made.
type ClassSnapshot struct {
	Class     string                    `json:"class"`
	Requests  uint64                    `json:"requests"`
	Failures  uint64                    `json:"failures"`
	Outcomes  map[pullchain.Code]uint64 `json:"outcomes"` // of the failures
	TTFBp50MS float64                   `json:"ttfb_p50_ms"`
	TTFBp95MS float64                   `json:"ttfb_p95_ms"`
	Answers   uint64                    `json:"-"` // with a first byte, of which the times are
	LastMS    []float64                 `json:"-"` // those times, of the last 128 at most, oldest first
}

// A QuotaSnapshot is what an upstream last said of its quota.
type QuotaSnapshot struct {
	Limit     int       `json:"limit"`
	Remaining int       `json:"remaining"`
	WindowS   int64     `json:"window_s"`
	Source    string    `json:"source"`
	At        time.Time `json:"at"`

	// Manifests are taken from others first because little is left: until then, or until an
	// answer says that there is more. Null if they are not, also as there is no other.
	SparedUntil *time.Time `json:"spared_until"`
}

// An ErrorSnapshot is the last failure of a lane.
type ErrorSnapshot struct {
	At     time.Time      `json:"at"`
	Code   pullchain.Code `json:"code"`
	Status int            `json:"status"`
	Text   string         `json:"text"`
}

// Snapshot returns the chain as it stands, to be read by people and scraped.
func (b *Balancer) Snapshot() Snapshot {
	b.states.adopt(b)
	s := Snapshot{Registry: b.registry, Strategy: b.strategy}
	s.Failovers, s.FailoversTotal = b.states.events.failovers(b.registry)
	v, states, now := b.states.standing(b)
	first := v.first(now)
	s.Pullable = first != nil
	s.Counts = b.totals.counts()
	s.Pinned, s.Reordered = v.preference.at(now)
	for i := range v.lanes {
		l := v.lanes[i].snapshot(i+1, &states[i], now)
		l.First = v.lanes[i].lane == first
		if l.Quota != nil && v.isSpared(i, now) {
			l.Quota.SparedUntil = stamp(v.lanes[i].spared)
		}
		l.Transitions = b.states.events.transitions(b.registry, l.Upstream)
		s.Proved = s.Proved || l.Proved && v.lanes[i].pullable(now)
		s.Lanes = append(s.Lanes, l)
	}
	return s
}

func (v *laneView) snapshot(place int, state *laneState, now time.Time) LaneSnapshot {
	l := v.lane
	facts := l.up.Facts()
	s := LaneSnapshot{
		Upstream: l.Name(), Order: place, Via: l.cfg.Via, Host: l.cfg.Host, Trust: "pull",
		State: state.word, Since: stamp(state.since), Until: state.until, Code: state.code,
		Authoritative: l.cfg.Authoritative, Metered: l.cfg.Metered, InFlight: l.load.inFlight.Load(),
		Queued: l.load.queue.length(now), Connections: l.cfg.Connections,
		SkewMS: facts.Skew.Milliseconds(), TLSExpiry: stamp(facts.TLSExpiry), TLSIssuer: facts.TLSIssuer,
		Throughput: int64(l.ledger.throughput()), ThroughputP50: int64(l.ledger.rateOf(0.5)), ThroughputP95: int64(l.ledger.rateOf(0.95)),
		SilentSince: stamp(l.load.hearing.silentSince()), Heard: stamp(l.load.hearing.lastHeard()),
		Failing:   v.gates.falling(),
		Cooldowns: []CooldownSnapshot{}, Gates: []GateSnapshot{},
		Eligible: v.closed(pullchain.ClassManifest, now) == nil, Counts: l.counts(),
		IgnoresRange: v.gates.ignoresRange, Settled: !v.gates.failback.holds(now), Flapping: v.gates.flapping(now),
	}
	if l.cfg.Resolve {
		s.Trust = "resolve"
	}
	if s.Addresses = facts.Addresses; s.Addresses == nil {
		s.Addresses = []string{} // and never null in JSON
	}
	if b := facts.Blobs; b.Host != "" {
		s.Blobs = &BlobsSnapshot{b.Host, stamp(b.Failed), b.Code}
	}
	if q := facts.Quota; q != nil {
		s.Quota = &QuotaSnapshot{q.Limit, q.Remaining, int64(q.Window.Seconds()), q.Source, q.At, nil}
	}
	v.snapshotBreakers(&s, now)
	v.snapshotGates(&s, now)
	v.snapshotPast(&s)
	return s
}

func (v *laneView) snapshotBreakers(s *LaneSnapshot, now time.Time) {
	for class, b := range v.lane.breakers {
		view, counts := &v.gates.breakers[class], b.counts()
		s.Breakers = append(s.Breakers, BreakerSnapshot{
			Class: pullchain.Class(class).String(), State: view.word(now), Until: shown(view.until, now), Code: codeOf(view.cause),
			Requests: counts.Requests, Failures: counts.TotalFailures, Excluded: counts.TotalExclusions,
			ConsecutiveFailures: counts.ConsecutiveFailures, Trips: b.recentTrips(now),
		})
		s.Classes = append(s.Classes, v.lane.ledger.snapshot(pullchain.Class(class)))
	}
}

func (v *laneView) snapshotGates(s *LaneSnapshot, now time.Time) {
	for class := range v.gates.cooldowns {
		if c := &v.gates.cooldowns[class]; c.cause != nil {
			s.Cooldowns = append(s.Cooldowns, CooldownSnapshot{pullchain.Class(class).String(), lapse.Shown(c.until, now), c.named, c.cause.Code})
		}
	}
	for _, class := range dataClasses {
		if g := v.closed(class, now); g != nil {
			s.Gates = append(s.Gates, GateSnapshot{g.gate, class.String(), shown(g.until, now), g.err(now).Code})
		}
	}
}

// snapshotPast adds when the lane has served, and what went wrong last: that of a
// failing probe where it is why the lane is degraded, else that of the last failed
// request.
func (v *laneView) snapshotPast(s *LaneSnapshot) {
	v.lane.snapshotPast(s)
	switch {
	case v.gates.falling() && (s.State == StateDegraded && len(s.Gates) == 0 || len(s.Gates) > 0 && s.Gates[0].Gate == gateProbe):
		s.Error = v.gates.probe.err.Error()
	case s.Code != "" && s.LastError != nil:
		s.Error = s.LastError.Text
	}
}

// snapshotPast adds what the lane itself remembers.
func (l *Lane) snapshotPast(s *LaneSnapshot) {
	l.mu.Lock()
	defer l.mu.Unlock() // also after a panic: a look at a lane must not shut it
	if e, ok := errorsAs(l.past.lastError); ok {
		s.LastError = &ErrorSnapshot{l.past.lastFailed, e.Code, e.Status, e.Error()}
	}
	s.Proved, s.FirstServed, s.LastServed = l.past.proved, stamp(l.past.firstServed), stamp(l.past.last())
	s.LastOK, s.WrongBytes = stamp(l.past.lastOK()), stamp(l.gates.corrupted)
}

func codeOf(e *pullchain.Error) pullchain.Code {
	if e == nil {
		return ""
	}
	return e.Code
}

func (s *laneLedger) snapshot(class pullchain.Class) ClassSnapshot {
	out := ClassSnapshot{
		Class:     class.String(),
		TTFBp50MS: millis(s.percentile(class, 0.5)),
		TTFBp95MS: millis(s.percentile(class, 0.95)),
		Outcomes:  map[pullchain.Code]uint64{},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out.Requests, out.Failures = s.classes[class].requests, s.classes[class].failures
	out.Answers, out.LastMS = s.classes[class].lastWaits()
	for code, n := range s.classes[class].outcomes {
		out.Outcomes[code] = n
	}
	return out
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
