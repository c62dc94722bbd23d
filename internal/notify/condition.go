package notify

import (
	"slices"
	"strings"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/messages"
)

// CodeRegistry is the code of a registry's level. All other codes are those of
// warnings.
const CodeRegistry = "registry"

// A Key names what a message is about: two with one key are one trouble.
type Key struct{ Code, Subject string }

// A Condition is how one thing stands: a registry, or a cause that troubles some.
type Condition struct {
	Key
	Level   Level
	Since   time.Time // of the trouble; zero: since it is looked at
	Affects []string
	Command string // what an operator runs next; may be empty

	// Covered says that this is not looked at: a cause among the other conditions is
	// told instead, or too little is known yet.
	Covered bool

	Words words
}

// words are what a message says of a Condition, in a language.
type words struct {
	name     func(*messages.Catalogue) string // what stands in the title; nil: the subject
	sentence func(*messages.Catalogue) string // what is the matter
	advice   func(*messages.Catalogue) string // what to do about it; nil: nothing is known
}

// A State is the daemon as a webhook sees it.
type State struct {
	Now      time.Time
	Chains   []balancer.Snapshot // of all registries that there are
	Warnings []diagnose.Warning
}

// Conditions returns how each registry stands, and each cause that wants a look. A
// registry whose trouble is all in such causes is covered by them: five registries
// behind one dead proxy are one piece of news. A cause is as bad as what it does.
func (s State) Conditions() []Condition {
	causes := slices.DeleteFunc(slices.Clone(s.Warnings), func(w diagnose.Warning) bool { return w.Severity == diagnose.Info })
	worst := map[string]Level{} // by the ID of a cause
	var out []Condition
	for _, c := range s.Chains {
		one := s.registry(c)
		by, covered := covering(c, causes)
		if covered && one.Level != OK {
			one.Covered = true
			for _, w := range by {
				worst[w.ID] = max(worst[w.ID], one.Level)
			}
		}
		out = append(out, one)
	}
	for _, w := range causes {
		out = append(out, s.cause(w, max(Degraded, worst[w.ID])))
	}
	return out
}

// registry is how a registry stands.
func (s State) registry(c balancer.Snapshot) Condition {
	return Condition{
		Key:     Key{CodeRegistry, c.Registry},
		Level:   levelOf(admin.Summarize([]balancer.Snapshot{c}, nil, s.Now, s.Warnings...).Level),
		Command: "pullchain status " + c.Registry,
		// Of one that is starting nothing is known, and a moment later something
		// is: what was told of it before a reload still stands.
		Covered: admin.Standing(c) == admin.Starting,
		Words:   words{sentence: func(m *messages.Catalogue) string { return admin.RemarkIn(m, c, s.Now) }},
	}
}

// cause is a warning.
func (s State) cause(w diagnose.Warning, l Level) Condition {
	return Condition{
		Key:   Key{w.Code, strings.TrimPrefix(strings.TrimPrefix(w.ID, w.Code), ":")},
		Level: l, Since: w.Since, Affects: w.Affects, Command: w.Fix,
		Words: words{
			name:     func(m *messages.Catalogue) string { return w.Title(m, s.Now) },
			sentence: func(m *messages.Catalogue) string { return m.Text("notify.cause", "title", w.Title(m, s.Now)) },
			advice:   func(m *messages.Catalogue) string { return w.Advice(m, s.Now) },
		},
	}
}

// reasons are the codes, beside those of roots, of warnings that are why a lane is out
// of order, or why a registry with lanes in order gives clients nothing. Others, such as that of a certificate that will end, are about lanes that
// work.
var reasons = []string{diagnose.QuotaSpent, diagnose.AbuseLimited, diagnose.WrongBytes, diagnose.PrivateRefused, diagnose.Unproved, diagnose.PullsFailing}

// covering returns the causes that trouble a registry, and whether they say all there is
// to say of it: none of its lanes is out of order for another reason.
func covering(c balancer.Snapshot, causes []diagnose.Warning) (by []diagnose.Warning, covered bool) {
	whole := false
	for _, w := range causes {
		if (w.Root() || slices.Contains(reasons, w.Code)) && slices.Contains(w.Registries(), c.Registry) {
			by = append(by, w)
			whole = whole || slices.Contains(w.Affects, c.Registry)
		}
	}
	for _, l := range c.Lanes {
		explained := slices.ContainsFunc(by, func(w diagnose.Warning) bool { return slices.Contains(w.Affects, c.Registry+"/"+l.Upstream) })
		if !explained && !whole && admin.OutOfOrder(l) {
			return by, false
		}
	}
	return by, len(by) > 0
}
