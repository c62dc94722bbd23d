package dashboard

import (
	"net/http"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/traffic"
)

// A pullLine is a pull as a line of a list shows it.
type pullLine struct {
	ID        string
	Href      string
	Client    string
	Addr      string
	Form      string
	Image     string // with the digest cut short
	FullImage string
	Platform  string
	State     string // active, done, failed
	Icon      string
	Word      string
	Level     string // of the chain's words, for the colour
	Started   *moment
	Updated   *moment
	Sent, All int64 // for the bar
	Layers    string
	Size      string
	Rate      string
	ETA       string
	Upstreams []string
	Cache     []share
	Why       string // of what failed
	Code      string
	Failures  int
	Resumes   int
	Saved     string // what resumes did not fetch again
	Degraded  bool
}

// pullIcons are those of the states of a pull.
var pullIcons = map[string]string{traffic.StateActive: "drained", traffic.StateDone: "check", traffic.StateFailed: "down"}

var pullLevels = map[string]string{traffic.StateActive: "active", traffic.StateDone: chainOK, traffic.StateFailed: chainNone}

func (v *speaker) pull(p *traffic.Pull) pullLine {
	text := v.messages.Text
	line := pullLine{
		ID: "p" + p.ID, Href: "/pulls/" + p.ID, Client: p.Client, Addr: p.Addr, Form: p.Form, FullImage: p.Image(), Image: shortImage(p.Image()), Platform: p.Platform,
		State: p.State, Icon: pullIcons[p.State], Level: pullLevels[p.State], Word: text("dash.pull." + p.State), Started: v.at(p.Started), Updated: v.at(p.Updated),
		Upstreams: p.Upstreams, Code: p.Code, Failures: p.Failures, Resumes: p.Resumes, Degraded: p.Degraded > 0,
	}
	if p.LayersTotal > 0 {
		line.Layers = text("dash.layers", "done", p.LayersDone, "all", p.LayersTotal)
	}
	line.Sent, line.All, line.Size = p.Bytes, p.Total, admin.Amount(p.Bytes)
	if p.Total > 0 && p.Bytes < p.Total {
		line.Size = admin.Fraction(p.Bytes, p.Total)
	}
	if p.State == traffic.StateActive && p.InFlight > 0 && p.RateBPS > 0 {
		line.Rate = admin.Amount(p.RateBPS) + "/s"
		if left := p.Total - p.Bytes; left > 0 {
			line.ETA = admin.Wait(v.messages, time.Duration(left/p.RateBPS+1)*time.Second)
		}
	}
	for _, result := range []string{"hit", "coalesced", "stale"} {
		if n := p.Cache[result]; n > 0 {
			line.Cache = append(line.Cache, share{text("dash.cached." + result), count(n)})
		}
	}
	if p.Failures > 0 {
		line.Why = v.why(p.Code)
	}
	if p.Resumes > 0 {
		line.Saved = admin.Amount(p.ResumedBytes)
	}
	return line
}

// A pullsModel is the page of pulls.
type pullsModel struct {
	Active  []pullLine // those that ended a moment ago with them
	Running int        // of them
	Recent  []pullLine
}

// maxPulls is how many pulls that are over one page lists.
const maxPulls = 50

func (d *dashboard) pulls(v *visit, recent int) pullsModel {
	var m pullsModel
	if d.Traffic == nil {
		return m
	}
	active, over := d.Traffic.Pulls()
	for i := range active {
		m.Active = append(m.Active, v.pull(&active[i]))
		if active[i].State == traffic.StateActive {
			m.Running++
		}
	}
	for i := range over[:min(len(over), recent)] {
		m.Recent = append(m.Recent, v.pull(&over[i]))
	}
	return m
}

// pullsView is the page of pulls under way and before.
func pullsView(d *dashboard, v *visit) (string, any) {
	v.Title = v.messages.Text("dash.nav_pulls")
	m := d.pulls(v, maxPulls)
	return "pulls", &m
}

// A pullModel is the page of one pull.
type pullModel struct {
	pullLine
	Contents []contentLine
	Findings []finding
	Requests []requestLine
}

// A contentLine is one layer, or the config, of an image.
type contentLine struct {
	Digest, FullDigest string
	Layer              bool
	Size               string
	Sent, All          int64
	Done, Active       bool
	From               string // the upstream; empty: the cache
}

// A finding is one thing that went wrong, and what to do about it.
type finding struct {
	Said  string
	Next  []piece
	Text  string
	Code  string
	Times int
}

// A piece of a text is plain, or a command.
type piece struct {
	Text    string
	Command bool
}

// pieces takes a text with `commands` in it apart.
func pieces(text string) []piece {
	var out []piece
	command := false
	start := 0
	for i := 0; i <= len(text); i++ {
		if i < len(text) && text[i] != '`' {
			continue
		}
		if i > start {
			out = append(out, piece{text[start:i], command})
		}
		start, command = i+1, !command
	}
	return out
}

func (v *speaker) findings(requests []traffic.Request) []finding {
	var out []finding
	for _, f := range admin.Findings(v.messages, requests) {
		out = append(out, finding{Said: f.Said, Next: pieces(f.Next), Text: f.Text, Code: f.Code, Times: f.Times})
	}
	return out
}

// pullView is the page of one pull: what it got from where, and what went wrong.
func pullView(d *dashboard, v *visit) (string, any) {
	if d.Traffic == nil {
		return notFound(d, v)
	}
	p, ok := d.Traffic.Pull(v.id)
	if !ok {
		return gone(v)
	}
	v.Title = shortImage(p.Image())
	m := pullModel{pullLine: v.pull(&p), Findings: v.findings(p.Requests)}
	for _, c := range p.Contents {
		line := contentLine{FullDigest: c.Digest, Digest: shortDigest(c.Digest), Layer: c.Layer, Sent: c.Sent, All: c.Size, Done: c.Done, Active: c.Active, From: c.Upstream, Size: admin.Amount(max(c.Size, c.Sent))}
		if !c.Done && c.Size > 0 {
			line.Size = admin.Fraction(c.Sent, c.Size)
		}
		m.Contents = append(m.Contents, line)
	}
	for i := range p.Requests {
		m.Requests = append(m.Requests, v.request(&p.Requests[i]))
	}
	return "pull", &m
}

// gone is the page for what is no longer remembered.
func gone(v *visit) (string, any) {
	v.status = http.StatusNotFound
	v.Title = v.messages.Text("dash.gone")
	return "gone", v
}
