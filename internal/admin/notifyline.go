package admin

import "github.com/pullchain/pullchain/internal/terminal"

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
