package dashboard

import (
	"cmp"

	"github.com/pullchain/pullchain/internal/setup"
)

// A setupModel is the page that says how clients are pointed here.
type setupModel struct {
	Mirror   string
	Loopback bool
	TLS      string // where clients keep certificates, for a listener that has one
	Runtimes []runtime
}

// A runtime is a kind of client, shown whole or folded.
type runtime struct {
	setup.Runtime
	Open bool
}

// setupView is the page for those that want to use the mirror.
func setupView(_ *dashboard, v *visit) (string, any) {
	v.Title, v.still = v.messages.Text("dash.nav_setup"), true
	mirror := setup.Mirror{URL: v.mirror(), Text: v.messages.Text}
	for i := range v.Snapshot.Registries {
		mirror.Registries = append(mirror.Registries, v.Snapshot.Registries[i].Registry)
	}
	m := setupModel{Mirror: mirror.URL, Loopback: mirror.Loopback(), TLS: mirror.Certificate()}
	all := mirror.Runtimes()
	asked := cmp.Or(v.query.Get("runtime"), all[0].ID)
	for _, r := range all {
		m.Runtimes = append(m.Runtimes, runtime{Runtime: r, Open: r.ID == asked})
	}
	return "setup", &m
}
