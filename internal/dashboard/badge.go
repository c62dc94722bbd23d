package dashboard

import (
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"github.com/pullchain/pullchain/balancer"
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
	split := 14 + textWidth(left)
	width := split + 14 + textWidth(right)
	w.Header().Set("Content-Type", "image/svg+xml")
	_ = badgeText.Execute(w, struct {
		Left, Right, Color     string
		Width, Split, Rest, At int
	}{strings.Map(visible, left), right, color, width, split, width - split, split + 7}) // a reader that left needs no answer
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
