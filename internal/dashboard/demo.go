package dashboard

import "github.com/pullchain/pullchain/internal/admin"

// A demoPanel are the faults of `pullchain demo`, a row of buttons for each upstream.
type demoPanel struct {
	CSRF string
	Rows []demoRow
}

type demoRow struct {
	Upstream string
	Broken   bool
	Buttons  []demoButton
}

// A demoButton throws one fault; the one that is on is pressed.
type demoButton struct {
	Fault, Text string
	On          bool
}

// demo returns the panel, or nil: a daemon that pulls from the real internet has none.
func (d *dashboard) demo(v *visit) *demoPanel {
	if d.Demo == nil {
		return nil
	}
	p := &demoPanel{CSRF: v.viewer.CSRF}
	for _, s := range d.Demo.Switches() {
		row := demoRow{Upstream: s.Upstream, Broken: s.Fault != admin.NoFault}
		for _, f := range s.Faults {
			row.Buttons = append(row.Buttons, demoButton{Fault: f, Text: v.messages.Text("switch.fault." + f), On: f == s.Fault})
		}
		p.Rows = append(p.Rows, row)
	}
	return p
}
