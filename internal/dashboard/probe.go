package dashboard

import (
	"github.com/pullchain/pullchain/healthcheck"
)

// A probe is what is known of an upstream by asking it.
type probe struct {
	Known   bool
	Up      bool
	Since   *moment
	Streak  string // "2/3": failures, or passes, on the way to a change
	Last    *moment
	LastMS  string
	Error   string
	Next    *moment
	History []probeLine // newest first
}

// A probeLine is one of the last probes.
type probeLine struct {
	At    *moment
	Took  string
	Error string // empty: it passed
}

// lastProbes is how many are listed.
const lastProbes = 10

func (v *speaker) probe(p healthcheck.TargetSnapshot) *probe {
	out := &probe{Known: p.Known, Up: p.Up, Since: v.at(p.Since), Next: v.at(p.Next)}
	switch {
	case p.Up && p.Falling > 0:
		out.Streak = count(p.Falling) + "/" + count(p.Fall)
	case !p.Up && p.Rising > 0:
		out.Streak = count(p.Rising) + "/" + count(p.Rise)
	}
	for i := len(p.History) - 1; i >= 0 && len(out.History) < lastProbes; i-- {
		h := p.History[i]
		out.History = append(out.History, probeLine{At: v.at(h.At), Took: millis(h.TookMS), Error: h.Error})
	}
	if len(out.History) > 0 {
		last := out.History[0]
		out.Last, out.LastMS, out.Error = last.At, last.Took, last.Error
	}
	return out
}
