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

	// Covered says that a cause among the other conditions is told instead.
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
		if admin.Standing(c) == admin.Starting {
			continue // nothing is known of it yet, and a moment later something is
		}
		out = append(out, Condition{
			Key:     Key{CodeRegistry, c.Registry},
			Level:   levelOf(admin.Summarize([]balancer.Snapshot{c}, nil, s.Now).Level),
			Command: "pullchain status " + c.Registry,
			Sentence: func(m *messages.Catalogue) string {
				return admin.RemarkIn(m, c, s.Now)
			},
		})
	}
	return out
}
