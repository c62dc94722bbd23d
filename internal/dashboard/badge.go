package dashboard

import (
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/history"
)

// badgeColors are those of the levels of a chain and of the states of a lane.
var badgeColors = map[string]string{
	chainOK: "#15803d", chainDetour: "#b45309", chainNone: "#b91c1c", chainUnknown: "#52606d",
	balancer.StateServing: "#15803d", balancer.StateStandby: "#15803d", balancer.StateDegraded: "#b45309", balancer.StateCooling: "#b45309",
	balancer.StateHalfOpen: "#b45309", balancer.StateOpen: "#b91c1c", balancer.StateDown: "#b91c1c", balancer.StateQuarantined: "#b91c1c",
	balancer.StateDrained: "#52606d", balancer.StateDisabled: "#52606d",
}

// badgeText draws both halves of a badge.
var badgeText = template.Must(template.New("badge").Parse(`<svg xmlns="http://www.w3.org/2000/svg" width="{{.Width}}" height="20" role="img" aria-label="{{.Left}}: {{.Right}}"><title>{{.Left}}: {{.Right}}</title>` +
	`<rect width="{{.Width}}" height="20" rx="4" fill="#444d56"/><rect x="{{.Split}}" width="{{.Rest}}" height="20" rx="4" fill="{{.Color}}"/><rect x="{{.Split}}" width="6" height="20" fill="{{.Color}}"/>` +
	`<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11"><text x="7" y="14">{{.Left}}</text><text x="{{.At}}" y="14">{{.Right}}</text></g></svg>` + "\n"))

// badge answers with a small picture of how a registry or an upstream is, to be put
// into a page elsewhere: /badge/docker.io.svg, /badge/docker.io/docker-hub.svg.
func (d *dashboard) badge(w http.ResponseWriter, r *http.Request) {
	v := d.visit(w, r)
	left, word, ok := d.badgeOf(v)
	if !ok {
		http.NotFound(w, r)
		return
	}
	right := v.messages.Text("state." + word)
	if chainIcons[word] != "" {
		right = v.messages.Text("dash.chain." + word)
	}
	color := badgeColors[word]
	if color == "" {
		color = badgeColors[chainUnknown]
	}
	drawBadge(w, left, right, color)
}

// drawBadge answers with a badge of two halves.
func drawBadge(w http.ResponseWriter, left, right, color string) {
	split := 14 + textWidth(left)
	width := split + 14 + textWidth(right)
	w.Header().Set("Content-Type", "image/svg+xml")
	_ = badgeText.Execute(w, struct {
		Left, Right, Color     string
		Width, Split, Rest, At int
	}{strings.Map(visible, left), right, color, width, split, width - split, split + 7}) // a reader that left needs no answer
}

// uptime answers with a badge of how much of a window an upstream could be had in:
// /badge/docker.io/docker-hub/uptime-24h.svg.
func (d *dashboard) uptime(w http.ResponseWriter, r *http.Request) {
	v := d.visit(w, r)
	name, ok := strings.CutPrefix(r.PathValue("picture"), "uptime-")
	name, isPicture := strings.CutSuffix(name, ".svg")
	window := history.Window(name)
	if !ok || !isPicture || window.Period() == 0 || d.History == nil || v.lane() == nil {
		http.NotFound(w, r)
		return
	}
	share, color := uptimeOf(d.past(v, v.registry, v.upstream, window))
	drawBadge(w, v.messages.Text("dash.uptime", "registry", v.registry, "upstream", v.upstream, "window", name), orDash(share), color)
}

// uptimeOf is the share of the cells of which something is known in which an upstream was
// not out of order, and its colour. What an operator took out is not counted.
func uptimeOf(past []history.Cell) (share, color string) {
	var known, up uint64
	for _, c := range past {
		switch levelOfCell(c) {
		case cellNone, cellOff:
			continue
		case cellBad:
		default:
			up++
		}
		known++
	}
	switch share = percent(up, known); {
	case known == 0:
		return share, badgeColors[chainUnknown]
	case 100*up >= 99*known:
		return share, badgeColors[chainOK]
	case 100*up >= 95*known:
		return share, badgeColors[chainDetour]
	}
	return share, badgeColors[chainNone]
}

// lane is the upstream that the address names, or nil.
func (v *visit) lane() *balancer.LaneSnapshot {
	if r := v.Snapshot.Find(v.registry); r != nil {
		for i := range r.Lanes {
			if r.Lanes[i].Upstream == v.upstream {
				return &r.Lanes[i]
			}
		}
	}
	return nil
}

// badgeOf finds what a badge is of, and the word for how it is.
func (d *dashboard) badgeOf(v *visit) (name, word string, ok bool) {
	registry, upstream := v.registry, v.upstream
	if upstream == "" {
		registry, ok = strings.CutSuffix(registry, ".svg")
	} else {
		upstream, ok = strings.CutSuffix(upstream, ".svg")
	}
	r := v.Snapshot.Find(registry)
	if !ok || r == nil {
		return "", "", false
	}
	if upstream == "" {
		return r.Registry, levelOf(r), true
	}
	i := slices.IndexFunc(r.Lanes, func(l balancer.LaneSnapshot) bool { return l.Upstream == upstream })
	if i < 0 {
		return "", "", false
	}
	return fmt.Sprintf("%s / %s", r.Registry, upstream), r.Lanes[i].State, true
}

// textWidth is about how wide a text is in the badge's letters.
func textWidth(s string) int {
	n := 0
	for _, c := range s {
		if n += 7; c > 0x2e80 {
			n += 5 // Chinese characters are square
		}
	}
	return n
}
