package balancer

import (
	"slices"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/lapse"
)

// A chainView is all that the states of a registry's lanes depend on, as values:
// they can be worked out for any moment from it.
type chainView struct {
	strategy   Strategy
	preference preference
	leader     string
	lanes      []laneView
}

type laneView struct {
	lane   *Lane
	gates  gateView
	token  bool          // a gate of the token server is closed, and a request would have to ask it first
	wait   time.Duration // expected, for a manifest
	spared time.Time     // before that counted requests go elsewhere, where they can; zero: not at all
}

// view returns the lanes as they stand.
func (b *Balancer) view() *chainView {
	v := &chainView{strategy: b.strategy, preference: b.preferences.current(), leader: b.leader(pullchain.ClassManifest)}
	for _, l := range b.lanes {
		lane := laneView{lane: l, gates: l.view(), wait: l.ledger.expected(pullchain.ClassManifest), spared: sparedUntil(l.up.Facts().Quota)}
		lane.token = lane.gates.tokenMatters() && l.up.NeedsToken(tagRequest)
		v.lanes = append(v.lanes, lane)
	}
	return v
}

// tagRequest is what "the first that may be asked" is about.
var tagRequest = pullchain.Request{Op: pullchain.Manifest, Head: true, Tag: "latest"}

// closed returns the gate that is closed for class at t, or nil.
func (v *laneView) closed(class pullchain.Class, t time.Time) *closedGate {
	g := v.gates.closed(class, t, func() bool { return v.token })
	if g != nil {
		g.lane = v.lane
	}
	return g
}

// first returns the lane that is asked for a tag first at t, or nil. How many
// requests the lanes have in flight does not count: a lane does not change its
// state with each of them.
func (v *chainView) first(t time.Time) *Lane {
	var candidates []candidate
	for i := range v.lanes {
		l := &v.lanes[i]
		cfg := &l.lane.cfg
		if !l.pullable(t) {
			continue
		}
		candidates = append(candidates, candidate{
			name: l.lane.Name(), index: i, place: v.preference.place(l.lane.Name(), i, t), pinned: v.preference.pins(l.lane.Name(), t), wait: l.wait, weight: cfg.Weight, metered: cfg.Metered,
			held: l.gates.failback.holds(t), slow: !lapse.Over(l.gates.slow[pullchain.ClassManifest], t), noRange: l.gates.ignoresRange,
		})
	}
	for _, c := range order(v.preference.strategy(v.strategy, t), tagRequest, candidates, v.leader) {
		return v.lanes[c.index].lane
	}
	return nil
}

// pullable reports whether the lane may be asked for a tag at t.
func (v *laneView) pullable(t time.Time) bool {
	return v.lane.cfg.Resolve && v.closed(pullchain.ClassManifest, t) == nil
}

// at returns the state of each lane at t, but for since.
func (v *chainView) at(t time.Time) []laneState {
	first := v.first(t)
	states := make([]laneState, len(v.lanes))
	for i := range v.lanes {
		states[i] = v.lanes[i].at(t, v.lanes[i].lane == first)
	}
	return states
}

// at finds the one word for it all: the gate that is closed first, for manifests
// before blobs.
func (v *laneView) at(t time.Time, first bool) laneState {
	class := pullchain.ClassManifest
	gate := v.closed(class, t)
	if gate == nil {
		class = pullchain.ClassBlob
		gate = v.closed(class, t)
	}
	g := &v.gates
	var s laneState
	if gate != nil {
		s = laneState{until: shown(gate.until, t), code: gate.err(t).Code, class: class.String()}
	}
	slowClass, slow := g.isSlow(t)
	switch {
	case gate != nil && (class == pullchain.ClassManifest || !first):
		s.word = v.word(gate.gate, t)
	case gate != nil || slow || g.flapping(t) || g.falling() || g.ignoresRange && first:
		s.word = StateDegraded
		switch {
		case gate != nil:
		case g.falling():
			s.code = pullchain.CodeOf(g.probe.err)
		case slow:
			s.code, s.class, s.until = pullchain.CodeTooSlow, slowClass.String(), shown(g.slow[slowClass], t)
		}
	case g.probe == nil && !g.asked:
		s.word = StateUnknown
	case first:
		s.word = StateServing
	default:
		s.word = StateStandby
	}
	return s
}

// word is the state of a lane whose gate of that name is closed.
func (v *laneView) word(gate string, t time.Time) string {
	switch gate {
	case gateOperator:
		return string(v.gates.admin.at(t))
	case gateQuarantine:
		return StateQuarantined
	case gateCooldown:
		return StateCooling
	case gateBreaker:
		for class := range v.gates.breakers {
			if v.gates.breakers[class].word(t) == breakerOpen {
				return StateOpen
			}
		}
		return StateHalfOpen
	}
	return StateDown
}

// flapping reports whether one of the breakers has tripped too often lately.
func (v *gateView) flapping(t time.Time) bool {
	for class := range v.breakers {
		if t.Before(v.breakers[class].flapping) {
			return true
		}
	}
	return false
}

// falling reports whether the last probe failed.
func (v *gateView) falling() bool { return v.probe != nil && v.probe.err != nil }

// A turn is a moment at which some gate opens, or lets other requests through than before.
type turn struct {
	due time.Time // as the gate has it: then it comes, also if a clock is set before
	at  time.Time // by the clocks as they stand
}

// turns returns those after now, in order.
func (v *chainView) turns(now time.Time) []turn {
	ends := []time.Time{v.preference.pinnedUntil, v.preference.orderUntil}
	for i := range v.lanes {
		ends = v.lanes[i].gates.turns(ends)
	}
	var turns []turn
	for _, t := range ends {
		if !lapse.Over(t, now) {
			turns = append(turns, turn{t, lapse.Anew(t, now)})
		}
	}
	slices.SortFunc(turns, func(a, b turn) int { return a.at.Compare(b.at) })
	return slices.CompactFunc(turns, func(a, b turn) bool { return a.at.Equal(b.at) })
}

// turns adds the moments at which time alone changes what the gates let through.
func (v *gateView) turns(turns []time.Time) []time.Time {
	turns = append(turns, v.admin.until, v.quarantine.until, v.egress.until, v.dialBackoff.until, v.grace, v.failback.until)
	for class := range v.cooldowns {
		cool, b := &v.cooldowns[class], &v.breakers[class]
		turns = append(turns, cool.until, b.until, b.flapping, v.slow[class])
		if cool.trial {
			turns = append(turns, cool.until.Add(trialGrace))
		}
		if b.tripped {
			turns = append(turns, b.until.Add(trialGrace))
		}
	}
	return turns
}
