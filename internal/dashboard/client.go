package dashboard

import (
	"slices"

	"github.com/pullchain/pullchain/internal/traffic"
)

// A clientLine is one runtime at one address.
type clientLine struct {
	Key        string
	Family     string
	Addr       string
	First      *moment
	Last       *moment
	Forms      []string
	Registries []string
	Requests   string
	Errors     string
	Failing    bool
	Pull       string // the last image
	PullHref   string
	PullIcon   string
	PullLevel  string
	PullWord   string
	Hint       string
}

func (d *dashboard) clients(v *visit, limit int) []clientLine {
	if d.Traffic == nil {
		return nil
	}
	all := d.Traffic.Clients()
	slices.SortStableFunc(all, func(a, b traffic.Client) int { return b.Last.Compare(a.Last) })
	var out []clientLine
	for i := range all[:min(len(all), limit)] {
		out = append(out, v.client(&all[i]))
	}
	return out
}

func (v *visit) client(c *traffic.Client) clientLine {
	line := clientLine{
		Key: "c" + c.Family + c.Addr, Family: c.Family, Addr: c.Addr, First: v.at(c.First), Last: v.at(c.Last), Registries: c.Registries,
		Requests: count(c.Requests), Errors: count(c.Errors), Failing: c.Errors > 0,
	}
	for _, f := range c.Forms {
		line.Forms = append(line.Forms, v.form(f))
	}
	if p := c.LastPull; p != nil {
		line.Pull, line.PullHref, line.PullIcon, line.PullLevel, line.PullWord = shortImage(p.Image), "/pulls/"+p.ID, pullIcons[p.State], pullLevels[p.State], v.messages.Text("dash.pull."+p.State)
	}
	// Docker sends nothing but docker.io to a mirror of daemon.json, and its user may
	// think that all is well (see the page of setups).
	if c.Family == "docker" && len(c.Registries) == 1 && c.Registries[0] == "docker.io" && len(v.Snapshot.Registries) > 1 {
		line.Hint = v.messages.Text("dash.docker_only")
	}
	return line
}

// A clientsModel is the page of clients.
type clientsModel struct {
	Clients []clientLine
	Mirror  string
}

// maxClients is how many clients one page lists.
const maxClients = 200

// clientsView is the page of the clients that were seen.
func clientsView(d *dashboard, v *visit) (string, any) {
	v.Title = v.messages.Text("dash.nav_clients")
	return "clients", &clientsModel{Clients: d.clients(v, maxClients), Mirror: v.mirror()}
}
