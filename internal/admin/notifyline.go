package admin

import "github.com/pullchain/pullchain/internal/terminal"

// traces writes a line where a collector fails.
func (t *table) traces() {
	if s := t.Traces; s != nil && s.LastError != "" {
		t.line(t.paint(terminal.Yellow, "! "+terminal.Printable(t.messages.Text("traces.trouble",
			"endpoint", s.Endpoint, "lost", s.Lost, "error", s.LastError))))
	}
}

// notifiers writes a line for each webhook that fails: what it has not told shows
// nowhere else.
func (t *table) notifiers() {
	for _, n := range t.Notifiers {
		if n.LastError != "" {
			t.line(t.paint(terminal.Yellow, "! "+terminal.Printable(t.messages.Text("notify.trouble",
				"name", n.Name, "kind", n.Kind, "count", n.Queued, "error", n.LastError))))
		}
	}
}
