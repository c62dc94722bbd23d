package balancer

import (
	"time"

	"github.com/pullchain/pullchain"
)

// The state words of a lane, the same in every place where people read them
// (UX.md 2). Quarantined is ours: wrong bytes are neither "down" nor "open".
const (
	StateServing     = "serving"  // the first that may be asked
	StateStandby     = "standby"  // may be asked, behind others
	StateDegraded    = "degraded" // may be asked, but something is wrong with it
	StateCooling     = "cooling"
	StateOpen        = "open"
	StateHalfOpen    = "half_open"
	StateDown        = "down"
	StateQuarantined = "quarantined"
	StateDrained     = "drained"
	StateDisabled    = "disabled"
	StateUnknown     = "unknown" // neither probed nor asked yet
)

// A Snapshot is a chain as it stands, as plain values.
type Snapshot struct {
	Registry       string         `json:"registry"`
	Strategy       Strategy       `json:"strategy"`
	Pullable       bool           `json:"pullable"` // some lane may be asked for a tag
	Lanes          []LaneSnapshot `json:"upstreams"`
	Failovers      []Failover     `json:"failovers"` // the last, newest first
	FailoversTotal uint64         `json:"failovers_total"`
}

// A LaneSnapshot is a lane as it stands, as plain values. A zero time is null.
type LaneSnapshot struct {
	Upstream      string             `json:"upstream"`
	Order         int                `json:"order"` // from 1, as configured
	State         string             `json:"state"`
	Since         *time.Time         `json:"since"` // it was first seen in this state
	Until         *time.Time         `json:"until"` // when the gate that is shut opens; null if nobody knows
	Code          pullchain.Code     `json:"code"`  // why it is in this state
	Error         string             `json:"error"`
	Via           string             `json:"via"`
	Trust         string             `json:"trust"`
	Authoritative bool               `json:"authoritative"`
	Metered       bool               `json:"metered"`
	InFlight      int64              `json:"in_flight"`
	Breakers      []BreakerSnapshot  `json:"breakers"`
	Cooldowns     []CooldownSnapshot `json:"cooldowns"`
	Gates         []GateSnapshot     `json:"gates"` // those that are shut
	Classes       []ClassSnapshot    `json:"classes"`
	Quota         *QuotaSnapshot     `json:"quota"`
	SkewMS        int64              `json:"skew_ms"`
	TLSExpiry     *time.Time         `json:"tls_expiry"`
	TLSIssuer     string             `json:"tls_issuer"`
	Throughput    int64              `json:"throughput_bytes_per_s"`
	IgnoresRange  bool               `json:"ignores_range"`
	Settled       bool               `json:"settled"`
	Flapping      bool               `json:"flapping"`
	LastError     *ErrorSnapshot     `json:"last_error"`
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

// A CooldownSnapshot is a cooldown that is shut or waits for a look.
type CooldownSnapshot struct {
	Class string         `json:"class"`
	Until time.Time      `json:"until"`
	Asked bool           `json:"asked"` // the upstream named the time
	Code  pullchain.Code `json:"code"`
}

// A GateSnapshot is a gate that is shut for some class.
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
}

// A QuotaSnapshot is what an upstream last said of its quota.
type QuotaSnapshot struct {
	Limit     int       `json:"limit"`
	Remaining int       `json:"remaining"`
	WindowS   int64     `json:"window_s"`
	Source    string    `json:"source"`
	At        time.Time `json:"at"`
}

// An ErrorSnapshot is the last failure of a lane.
type ErrorSnapshot struct {
	At     time.Time      `json:"at"`
	Code   pullchain.Code `json:"code"`
	Status int            `json:"status"`
	Text   string         `json:"text"`
}

// Snapshot returns the chain as it stands.
func (b *Balancer) Snapshot() Snapshot {
	s := Snapshot{Registry: b.registry, Strategy: b.strategy}
	s.Failovers, s.FailoversTotal = b.failovers.recentFirst()
	tag := pullchain.Request{Op: pullchain.Manifest, Head: true, Registry: b.registry, Tag: "latest"}
	lanes := b.choose(tag, nil, &trail{})
	s.Pullable = len(lanes) > 0
	for i, l := range b.lanes {
		s.Lanes = append(s.Lanes, l.snapshot(i+1, len(lanes) > 0 && lanes[0] == l))
	}
	return s
}

// Lanes returns the lanes in the configured order. The slice is the caller's.
func (b *Balancer) Lanes() []*Lane { return append([]*Lane(nil), b.lanes...) }

func (l *Lane) snapshot(place int, first bool) LaneSnapshot {
	now := time.Now()
	facts := l.up.Facts()
	s := LaneSnapshot{
		Upstream: l.Name(), Order: place, Via: l.cfg.Via, Trust: "pull",
		Authoritative: l.cfg.Authoritative, Metered: l.cfg.Metered, InFlight: l.inFlight.Load(),
		SkewMS: facts.Skew.Milliseconds(), TLSExpiry: stamp(facts.TLSExpiry), TLSIssuer: facts.TLSIssuer,
		Throughput: int64(l.ledger.throughput()),
		Cooldowns:  []CooldownSnapshot{}, Gates: []GateSnapshot{},
	}
	if l.cfg.Resolve {
		s.Trust = "resolve"
	}
	if q := facts.Quota; q != nil {
		s.Quota = &QuotaSnapshot{q.Limit, q.Remaining, int64(q.Window.Seconds()), q.Source, q.At}
	}
	l.snapshotBreakers(&s, now)
	l.snapshotGates(&s, now)
	l.mu.Lock()
	for class := range l.cooldowns {
		if c := &l.cooldowns[class]; c.cause != nil {
			s.Cooldowns = append(s.Cooldowns, CooldownSnapshot{pullchain.Class(class).String(), c.until, c.asked, pullchain.CodeOf(c.cause)})
		}
	}
	s.IgnoresRange, s.Settled = l.ignores, l.latch.settled(now)
	if e, ok := errorsAs(l.lastError); ok {
		s.LastError = &ErrorSnapshot{l.lastFailed, e.Code, e.Status, e.Error()}
	}
	l.mu.Unlock()
	l.snapshotState(&s, first, now)
	return s
}

func (l *Lane) snapshotBreakers(s *LaneSnapshot, now time.Time) {
	for class, b := range l.breakers {
		state, counts := b.state(now), b.cb.Counts()
		s.Breakers = append(s.Breakers, BreakerSnapshot{
			Class: pullchain.Class(class).String(), State: state.word, Until: stamp(state.until), Code: pullchain.CodeOf(state.cause),
			Requests: counts.Requests, Failures: counts.TotalFailures, Excluded: counts.TotalExclusions,
			ConsecutiveFailures: counts.ConsecutiveFailures, Trips: state.trips,
		})
		s.Flapping = s.Flapping || state.flapping
		s.Classes = append(s.Classes, l.ledger.snapshot(pullchain.Class(class)))
	}
}

func (l *Lane) snapshotGates(s *LaneSnapshot, now time.Time) {
	for _, req := range []pullchain.Request{{Op: pullchain.Manifest}, {Op: pullchain.Blob}} {
		if g := l.shut(req, now); g != nil {
			s.Gates = append(s.Gates, GateSnapshot{g.gate, req.Class().String(), stamp(g.until), g.err(now).Code})
		}
	}
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
	for code, n := range s.classes[class].outcomes {
		out.Outcomes[code] = n
	}
	return out
}

// snapshotState finds the one word for it all: the gate that is shut first, for
// manifests before blobs.
func (l *Lane) snapshotState(s *LaneSnapshot, first bool, now time.Time) {
	l.mu.Lock()
	unknown := !l.verdict.known && l.lastAsked.IsZero()
	wish, falling := l.wish, l.verdict.err
	l.mu.Unlock()
	switch {
	case len(s.Gates) > 0 && (s.Gates[0].Class == "manifest" || !first):
		g := s.Gates[0]
		s.State, s.Until, s.Code = gateState(g.Gate, wish), g.Until, g.Code
		if s.State == StateOpen && !l.anyOpen(now) {
			s.State = StateHalfOpen
		}
	case len(s.Gates) > 0 || s.Flapping || falling != nil || s.IgnoresRange && first:
		s.State = StateDegraded
		if len(s.Gates) > 0 {
			s.Until, s.Code = s.Gates[0].Until, s.Gates[0].Code
		} else if falling != nil {
			s.Code, s.Error = pullchain.CodeOf(falling), falling.Error()
		}
	case unknown:
		s.State = StateUnknown
	case first:
		s.State = StateServing
	default:
		s.State = StateStandby
	}
	if s.Error == "" && s.Code != "" && s.LastError != nil {
		s.Error = s.LastError.Text
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.word != s.State {
		l.word, l.wordSince = s.State, now
	}
	s.Since = stamp(l.wordSince)
}

func gateState(gate string, wish Wish) string {
	switch gate {
	case gateOperator:
		return string(wish)
	case gateQuarantine:
		return StateQuarantined
	case gateCooldown:
		return StateCooling
	case gateBreaker:
		return StateOpen
	}
	return StateDown
}

func (l *Lane) anyOpen(now time.Time) bool {
	for _, b := range l.breakers {
		if b.state(now).word == open {
			return true
		}
	}
	return false
}

func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
