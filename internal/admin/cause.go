package admin

import (
	"slices"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/messages"
)

// A rolledUp chain is one without the lanes whose trouble a cause tells of.
type rolledUp struct {
	balancer.Snapshot
	told bool // the cause says all there is to say of it
}

// rollUp returns a sentence for each cause that explains lanes of chains, and the chains
// with what is left to tell of them.
func rollUp(m *messages.Catalogue, chains []balancer.Snapshot, now time.Time, warnings []diagnose.Warning) ([]string, []rolledUp) {
	out := make([]rolledUp, len(chains))
	without := make([][]string, len(warnings)) // registries that a warning leaves no path
	around := make([][]string, len(warnings))  // and those that another path serves
	for i, c := range chains {
		out[i] = rolledUp{Snapshot: c}
		cause := -1
		out[i].Lanes = slices.DeleteFunc(slices.Clone(c.Lanes), func(l balancer.LaneSnapshot) bool {
			w := slices.IndexFunc(warnings, func(w diagnose.Warning) bool { return w.Explains(c.Registry, l.Upstream) })
			if w >= 0 && cause < 0 {
				cause = w
			}
			return w >= 0
		})
		switch {
		case cause < 0:
		case !slices.ContainsFunc(out[i].Lanes, mayServe):
			out[i].Pullable, out[i].told = false, true
			without[cause] = append(without[cause], c.Registry)
		default:
			around[cause] = append(around[cause], c.Registry)
		}
	}
	var told []string
	for i, w := range warnings {
		if s := causeOf(m, w.Title(m, now), without[i], around[i]); s != "" {
			told = append(told, s)
		}
	}
	return told, out
}

// noneServed returns a sentence for each of chains that has a path and of which clients get
// nothing all the same.
func noneServed(m *messages.Catalogue, chains []rolledUp, now time.Time, warnings []diagnose.Warning) []string {
	var out []string
	for _, c := range chains {
		if c.told || Standing(c.Snapshot) == Unreachable {
			continue
		}
		for _, w := range warnings {
			if w.Code == diagnose.PullsFailing && slices.Contains(w.Affects, c.Registry) {
				out = append(out, m.Text("summary.failing", "cause", w.Title(m, now)))
			}
		}
	}
	return out
}

// mayServe reports whether a lane can be asked what a tag names.
func mayServe(l balancer.LaneSnapshot) bool { return l.Trust != "pull" && !outOfOrderStates[l.State] }

// causeOf is the sentence of one cause: what it leaves without a path, and what goes
// around it.
func causeOf(m *messages.Catalogue, title string, without, around []string) string {
	switch {
	case len(without) > 0 && len(around) > 0:
		return m.Text("summary.cause_both", "cause", title, "without", diagnose.List(m, without), "around", diagnose.List(m, around))
	case len(without) > 0:
		return m.Text("summary.cause_without", "cause", title, "registries", diagnose.List(m, without))
	case len(around) > 0:
		return m.Text("summary.cause_around", "cause", title, "registries", diagnose.List(m, around))
	}
	return ""
}
