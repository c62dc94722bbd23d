package notify

import (
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
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
	Command string // what an operator runs next

	// Covered says that this is not looked at: a cause among the other conditions is
	// told instead, or too little is known yet.
	Covered bool

	// Sentence says what is the matter.
	Sentence func(*messages.Catalogue) string
}

// A State is the daemon as a webhook sees it.
type State struct {
	Now    time.Time
	Chains []balancer.Snapshot // of all registries that there are
}

// Conditions returns how each registry stands.
func (s State) Conditions() []Condition {
	var out []Condition
	for _, c := range s.Chains {
		out = append(out, Condition{
			Key: Key{CodeRegistry, c.Registry},
			// Of one that is starting nothing is known, and a moment later something
			// is: what was told of it before a reload still stands.
			Covered: admin.Standing(c) == admin.Starting,
			Level:   levelOf(admin.Summarize([]balancer.Snapshot{c}, nil, s.Now).Level),
			Command: "pullchain status " + c.Registry,
			Sentence: func(m *messages.Catalogue) string {
				return admin.RemarkIn(m, c, s.Now)
			},
		})
	}
	return out
}
