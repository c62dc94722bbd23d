package admin

import (
	"strings"

	"github.com/pullchain/pullchain/internal/terminal"
)

// overrides writes a line for each override, with the command that ends it: a drain that
// was forgotten looks like an upstream that is broken.
func (t *table) overrides() {
	for _, v := range t.Overrides {
		s := Snapshot{Registries: t.Registries}
		if s.Find(v.Registry) == nil {
			continue
		}
		m, undo := t.messages, "enable "+v.Registry+"/"+v.Upstream
		switch v.Kind {
		case KindPin:
			undo = "unpin " + v.Registry
		case KindReorder:
			undo = "order " + v.Registry
		}
		line := m.Text("override.line", "what", m.Text("override."+string(v.Kind), "registry", v.Registry, "upstream", v.Upstream, "order", strings.Join(v.Order, ", ")),
			"actor", v.Actor, "wait", Wait(m, v.ExpiresAt.Sub(t.Now)), "undo", "pullchain upstream "+undo)
		if v.Reason != "" {
			line += m.Text("override.reason", "reason", v.Reason)
		}
		t.line(t.paint(terminal.Yellow, "! "+terminal.Printable(line)))
	}
}
