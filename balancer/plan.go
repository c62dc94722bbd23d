package balancer

import (
	"errors"
	"slices"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/lapse"
)

// The reasons for which a lane would not be asked that are no gates of the lane.
const (
	gateTrust   = "trust"   // what a tag means it is not believed
	gateEnough  = "enough"  // so many are asked before it
	gateSettled = "settled" // the registry itself has just said no
)

// A Candidate is a lane as one request would meet it, as plain values.
type Candidate struct {
	Upstream string         `json:"upstream"`
	Turn     int            `json:"turn"`  // from 1: in which order it would be asked; 0: not at all
	Gate     string         `json:"gate"`  // why it would not be asked; empty if it would
	Code     pullchain.Code `json:"code"`  // what closed the gate; quota_low of one that would be asked: manifests come from others first
	Error    string         `json:"error"` // the text behind the code
	Until    *time.Time     `json:"until"` // when the gate opens; null if that is not known
}

// Plan returns how req would meet the lanes, in the order in which they would be asked,
// and then those that would not, as configured. It asks none. Where none would be
// asked, Fetch may still force one.
func (b *Balancer) Plan(req pullchain.Request) []Candidate {
	log := &attemptLog{began: time.Now()}
	var plan []Candidate
	low := func(l *Lane) bool { return !lapse.Over(sparedUntil(l.up.Facts().Quota), log.began) }
	chosen := b.choose(req, nil, log)
	for i, l := range chosen {
		c := Candidate{Upstream: l.Name(), Turn: i + 1}
		if low(l) && slices.ContainsFunc(chosen, func(other *Lane) bool { return !low(other) }) {
			c.Code = pullchain.CodeQuotaLow
		}
		plan = append(plan, c)
	}
	notAsked := log.attempts()
	for _, l := range b.lanes {
		if slices.ContainsFunc(plan, func(c Candidate) bool { return c.Upstream == l.Name() }) {
			continue
		}
		i := slices.IndexFunc(notAsked, func(a pullchain.Attempt) bool { return a.Upstream == l.Name() })
		switch {
		case i >= 0:
			plan = append(plan, candidateNotAsked(notAsked[i]))
		case req.Digest == "" && !l.cfg.Resolve:
			plan = append(plan, Candidate{Upstream: l.Name(), Gate: gateTrust})
		case len(plan) > 0 && plan[0].Turn > 0:
			plan = append(plan, Candidate{Upstream: l.Name(), Gate: gateEnough})
		default:
			plan = append(plan, Candidate{Upstream: l.Name(), Gate: gateSettled})
		}
	}
	return plan
}

// candidateNotAsked reads why a lane would not be asked from the log.
func candidateNotAsked(a pullchain.Attempt) Candidate {
	c := Candidate{Upstream: a.Upstream, Gate: a.Gate}
	if e, ok := errors.AsType[*pullchain.Error](a.Err); ok {
		c.Code = e.Code
		if e.Err != nil {
			c.Error = e.Err.Error()
		}
		if e.RetryAfter > 0 {
			c.Until = stamp(a.Start.Add(e.RetryAfter))
		}
	}
	return c
}
