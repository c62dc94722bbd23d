package dashboard

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/history"
	"github.com/pullchain/pullchain/internal/traffic"
)

// A laneModel is the page of an upstream.
type laneModel struct {
	Registry     string
	RegistryHref string
	Head         chip
	Since        *moment
	Trouble      string
	Error        *laneError
	Bars         []bar
	Badge        string // the address of a picture of its uptime
	Windows      []link
	Charts       []chart
	Views        []link // of the same figures: as charts, or as a table
	Endings      []string
	Figures      []figureLine // in place of charts
	Facts        []pair
	Probe        *probe
	Classes      []classLine
	Gates        []gateLine
	Transitions  []transitionLine
	Actions      []action
	Requests     []requestLine
}

// A laneError is the last failure, in the upstream's own words.
type laneError struct {
	At     *moment
	Why    string
	Code   string
	Status int
	Text   string
}

// A pair is a name with what it is.
type pair struct {
	Name, Value string
	At          *moment
}

// laneView is the page of an upstream.
func laneView(d *dashboard, v *visit) (string, any) {
	r := v.Snapshot.Find(v.registry)
	if r == nil {
		return notFound(d, v)
	}
	i := slices.IndexFunc(r.Lanes, func(l balancer.LaneSnapshot) bool { return l.Upstream == v.upstream })
	if i < 0 {
		return notFound(d, v)
	}
	l := &r.Lanes[i]
	v.Title = r.Registry + " / " + l.Upstream
	m := laneModel{Registry: r.Registry, RegistryHref: registryPath(r.Registry), Head: v.chip(r, l, r.Serving() == l), Since: v.atOf(l.Since)}
	if ailing(l) {
		m.Trouble = admin.Trouble(v.messages, *l, v.now())
	}
	if e := l.LastError; e != nil {
		m.Error = &laneError{At: v.at(e.At), Why: v.why(string(e.Code)), Code: string(e.Code), Status: e.Status, Text: e.Text}
	}
	d.pastOf(v, &m, l)
	m.Facts = v.laneFacts(l)
	if p, ok := r.Probe(l.Upstream); ok {
		m.Probe = v.probe(p)
	}
	m.Classes, m.Gates, m.Actions = v.classes(l), v.gates(l), d.ofLane(v, r, l)
	if d.Traffic != nil {
		for _, one := range d.Traffic.Requests(traffic.RequestFilter{Registry: r.Registry, Upstream: l.Upstream, Limit: lastTransitions}) {
			m.Requests = append(m.Requests, v.request(&one))
		}
	}
	m.Transitions = d.transitions(v, r.Registry, l.Upstream, lastTransitions)
	return "lane", &m
}

// pastOf fills in the bars of all windows and the charts of the one that is asked for.
func (d *dashboard) pastOf(v *visit, m *laneModel, l *balancer.LaneSnapshot) {
	if d.History == nil {
		return
	}
	asked := history.Window(v.query.Get("window"))
	if asked.Period() == 0 {
		asked = history.Hour
	}
	for _, w := range []history.Window{history.Hour, history.Day, history.Month} {
		m.Bars = append(m.Bars, *d.laneBar(v, m.Registry, l.Upstream, w))
		m.Windows = append(m.Windows, link{Href: v.with("window", string(w)), Text: v.messages.Text("dash.window." + string(w)), Current: w == asked})
	}
	past := d.past(v, m.Registry, l.Upstream, asked)
	m.Badge = "/badge/" + url.PathEscape(m.Registry) + "/" + url.PathEscape(l.Upstream) + "/uptime-" + string(history.Day) + ".svg"
	figures := v.query.Get("view") == "figures"
	m.Views = []link{{Href: v.with("view", "charts"), Text: v.messages.Text("dash.as_charts"), Current: !figures}, {Href: v.with("view", "figures"), Text: v.messages.Text("dash.as_figures"), Current: figures}}
	if figures {
		m.Endings, m.Figures = v.endingNames(), v.measured(past)
		return
	}
	m.Charts = v.charts(past)
}

// wayOut says how an upstream is reached: directly, or through a proxy at an address.
func (v *visit) wayOut(via string) string {
	for _, e := range v.Snapshot.Egresses {
		if e.Name == via {
			return via + " (" + e.URL + ")"
		}
	}
	return via
}

// laneFacts are what is known of an upstream that does not change by the minute.
func (v *visit) laneFacts(l *balancer.LaneSnapshot) []pair {
	text := v.messages.Text
	out := []pair{
		{Name: text("dash.via"), Value: v.wayOut(l.Via)},
		{Name: text("dash.host"), Value: l.Host},
		{Name: text("dash.addresses"), Value: strings.Join(l.Addresses, ", ")},
		{Name: text("dash.trust"), Value: text("dash.trusted." + l.Trust)},
		{Name: text("dash.in_flight"), Value: count(l.InFlight)},
	}
	if l.Blobs != nil {
		out = append(out, pair{Name: text("dash.blob_host"), Value: l.Blobs.Host})
	}
	yes := func(is bool, key string) {
		if is {
			out = append(out, pair{Name: text(key), Value: text("dash.yes")})
		}
	}
	yes(l.Authoritative, "dash.authoritative")
	yes(l.Metered, "dash.metered")
	yes(l.Flapping, "dash.flapping")
	yes(l.IgnoresRange, "dash.ignores_range")
	if l.Throughput > 0 {
		out = append(out, pair{Name: text("dash.throughput"), Value: admin.Amount(l.Throughput) + "/s"})
	}
	if q := l.Quota; q != nil && q.Limit > 0 {
		out = append(out, pair{Name: text("dash.quota"), Value: text("dash.quota_left", "left", q.Remaining, "limit", q.Limit), At: v.at(q.At)})
	}
	if l.TLSExpiry != nil {
		out = append(out, pair{Name: text("dash.tls_expiry"), Value: l.TLSExpiry.Local().Format(time.DateOnly), At: v.atOf(l.TLSExpiry)}, pair{Name: text("dash.tls_issuer"), Value: l.TLSIssuer})
	}
	if l.SkewMS != 0 {
		out = append(out, pair{Name: text("dash.skew"), Value: (time.Duration(l.SkewMS) * time.Millisecond).String()})
	}
	return slices.DeleteFunc(out, func(p pair) bool { return p.Value == "" })
}

// A classLine is what an upstream did for one class of requests since the start.
type classLine struct {
	Class    string
	Requests string
	Failures string
	P50, P95 string
	Outcomes []share // of the failures, by code
	Breaker  string  // its state
	Open     bool
	Until    *moment
	Window   string // "2/40": failures of requests in the breaker's window
	Trips    int
}

func (v *speaker) classes(l *balancer.LaneSnapshot) []classLine {
	var out []classLine
	for i, c := range l.Classes {
		line := classLine{Class: v.messages.Text("dash.class." + c.Class), Requests: count(c.Requests), Failures: count(c.Failures), P50: orDash(millis(c.TTFBp50MS)), P95: orDash(millis(c.TTFBp95MS))}
		for code, n := range c.Outcomes {
			if n > 0 {
				line.Outcomes = append(line.Outcomes, share{string(code), count(n)})
			}
		}
		slices.SortFunc(line.Outcomes, func(a, b share) int { return cmp.Compare(a.Name, b.Name) })
		if i < len(l.Breakers) {
			b := l.Breakers[i]
			line.Breaker, line.Open, line.Until, line.Trips = v.messages.Text("dash.breaker."+b.State), b.State != "closed", v.atOf(b.Until), b.Trips
			line.Window = count(int(b.Failures)) + "/" + count(int(b.Requests))
		}
		out = append(out, line)
	}
	return out
}

// A gateLine is a gate that keeps requests from an upstream.
type gateLine struct {
	Gate, Class, Why, Code string
	Until                  *moment
	Asked                  bool // the upstream named the time
}

func (v *speaker) gates(l *balancer.LaneSnapshot) []gateLine {
	var out []gateLine
	for _, g := range l.Gates {
		line := gateLine{Gate: v.messages.Text("dash.gate." + g.Gate), Why: v.why(string(g.Code)), Code: string(g.Code), Until: v.atOf(g.Until)}
		if g.Class != "" {
			line.Class = v.messages.Text("dash.class." + g.Class)
		}
		for _, c := range l.Cooldowns {
			line.Asked = line.Asked || g.Gate == "cooldown" && c.Class == g.Class && c.Asked
		}
		out = append(out, line)
	}
	return out
}
