package dashboard

import (
	"encoding/csv"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/history"
)

// An eventLine is something that happened to an upstream.
type eventLine struct {
	ID       string // in the page's address
	Seq      uint64
	At       *moment
	Kind     string
	KindWord string
	Registry string
	Upstream string
	Href     string // of the upstream
	From, To string // words for states
	State    string // that it is in since
	Until    *moment
	Why      string
	Code     string
	Class    string
	Failover *failoverLine
}

// A transitionLine is a change of one upstream's state.
type transitionLine = eventLine

// lastTransitions is how many an upstream's page lists.
const lastTransitions = 20

// eventsSince returns all that are kept, the newest first.
func (d *dashboard) eventsSince() []balancer.Event {
	if d.Events == nil {
		return nil
	}
	all, _, _ := d.Events.Since(0)
	slices.Reverse(all)
	return all
}

func (d *dashboard) transitions(v *visit, registry, upstream string, limit int) []transitionLine {
	var out []transitionLine
	for _, e := range d.eventsSince() {
		if e.Kind == balancer.KindTransition && e.Registry == registry && e.Upstream == upstream && len(out) < limit {
			out = append(out, v.event(e))
		}
	}
	return out
}

func (v *speaker) event(e balancer.Event) eventLine {
	line := eventLine{
		ID: "e" + strconv.FormatUint(e.Seq, 10), Seq: e.Seq, At: v.at(e.At), Kind: string(e.Kind), KindWord: v.messages.Text("dash.kind." + string(e.Kind)),
		Registry: e.Registry, Upstream: e.Upstream, Href: upstreamPath(e.Registry, e.Upstream), State: e.To,
		Until: v.atOf(e.Until), Why: v.why(string(e.Code)), Code: string(e.Code),
	}
	if e.Kind == balancer.KindTransition {
		line.From, line.To = v.messages.Text("state."+e.From), v.messages.Text("state."+e.To)
	}
	if e.Class != "" {
		line.Class = v.messages.Text("dash.class." + e.Class)
	}
	if e.Failover != nil {
		of := *e.Failover
		of.Registry = e.Registry
		f := v.failover(of)
		line.Failover = &f
	}
	return line
}

// An eventsModel is the page of all that happened.
type eventsModel struct {
	Lines      []eventLine
	Total      int // that match
	Kinds      []option
	Registries []option
	Query      string
	CSV        string // the address of the same as a file
}

// An option is one choice of a form.
type option struct {
	Value, Text string
	Chosen      bool
}

// maxEvents is how many one page lists; the file has all.
const maxEvents = 100

// eventsView is the log of what happened, filtered by the address.
func eventsView(d *dashboard, v *visit) (string, any) {
	v.Title = v.messages.Text("dash.nav_events")
	matching := d.matching(v.query)
	m := eventsModel{Total: len(matching), Query: v.query.Get("q"), CSV: "/events?" + withCSV(v.query)}
	for _, e := range matching[:min(len(matching), maxEvents)] {
		m.Lines = append(m.Lines, v.event(e))
	}
	m.Kinds = append(m.Kinds, option{"", v.messages.Text("dash.all"), false})
	for _, k := range []balancer.EventKind{balancer.KindTransition, balancer.KindFailover, balancer.KindForced} {
		m.Kinds = append(m.Kinds, option{string(k), v.messages.Text("dash.kind." + string(k)), v.query.Get("kind") == string(k)})
	}
	m.Registries = append(m.Registries, option{"", v.messages.Text("dash.all"), false})
	for _, r := range v.Snapshot.Registries {
		m.Registries = append(m.Registries, option{r.Registry, r.Registry, v.query.Get("registry") == r.Registry})
	}
	return "events", &m
}

func withCSV(q url.Values) string {
	out := url.Values{"format": {"csv"}}
	for _, name := range []string{"kind", "registry", "q"} {
		if q.Get(name) != "" {
			out.Set(name, q.Get(name))
		}
	}
	return out.Encode()
}

// matching returns the events that an address asks for.
func (d *dashboard) matching(q url.Values) []balancer.Event {
	return slices.DeleteFunc(d.eventsSince(), func(e balancer.Event) bool {
		image := ""
		if e.Failover != nil {
			image = e.Failover.Image + " " + e.Failover.To
		}
		return q.Get("kind") != "" && q.Get("kind") != string(e.Kind) ||
			q.Get("registry") != "" && q.Get("registry") != e.Registry ||
			q.Get("q") != "" && !contains(q.Get("q"), e.Upstream, string(e.Code), image, e.From, e.To)
	})
}

// eventsCSV answers with the events as a file for a spreadsheet.
func (d *dashboard) eventsCSV(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="pullchain-events.csv"`)
	out := csv.NewWriter(w)
	_ = out.Write([]string{"seq", "at", "kind", "registry", "upstream", "from", "to", "code", "class", "phase", "offset", "added_ms", "image"})
	for _, e := range d.matching(r.URL.Query()) {
		row := []string{strconv.FormatUint(e.Seq, 10), e.At.UTC().Format(time.RFC3339Nano), string(e.Kind), e.Registry, e.Upstream, e.From, e.To, string(e.Code), e.Class, "", "", "", ""}
		if f := e.Failover; f != nil {
			row[5], row[6] = f.From, f.To
			row[9], row[10], row[11], row[12] = f.Phase, strconv.FormatInt(f.Offset, 10), strconv.FormatInt(f.AddedMS, 10), f.Image
		}
		for i := range row {
			row[i] = inert(row[i])
		}
		if out.Write(row) != nil {
			return // the reader left
		}
	}
	out.Flush()
}

// inert keeps a spreadsheet from taking a name for a formula.
func inert(cell string) string {
	if cell != "" && (cell[0] == '=' || cell[0] == '+' || cell[0] == '-' || cell[0] == '@') {
		return "'" + cell
	}
	return cell
}

// A registryModel is the page of a registry.
type registryModel struct {
	Chain     chain
	Lanes     []laneLine
	Failovers failoverLog
	Actions   []action
}

// A laneLine is an upstream in the table of its registry.
type laneLine struct {
	Chip     chip
	Since    *moment
	Trouble  string
	Via      string
	P50, P95 string
	Success  string
	Requests string
	Bar      *bar
	Moves    []action
}

// registryView is the page of a registry.
func registryView(d *dashboard, v *visit) (string, any) {
	r := v.Snapshot.Find(v.registry)
	if r == nil {
		return notFound(d, v)
	}
	v.Title = r.Registry
	m := registryModel{Chain: d.chain(v, r), Failovers: v.failovers(r.Registry, lastTransitions)}
	if m.Chain.Bar = d.registryBar(v, r, history.Hour); m.Chain.Bar != nil {
		v.spell(m.Chain.Bar)
	}
	m.Actions = d.ofRegistry(v, r)
	for i := range r.Lanes {
		line := d.laneLine(v, r, &r.Lanes[i])
		line.Moves = d.moves(v, r, i)
		m.Lanes = append(m.Lanes, line)
	}
	return "registry", &m
}

func (d *dashboard) laneLine(v *visit, r *admin.Registry, l *balancer.LaneSnapshot) laneLine {
	line := laneLine{Chip: v.chip(r, l, r.Serving() == l), Since: v.atOf(l.Since), Via: l.Via, Success: orDash(success(*l)), Bar: d.tableBar(v, r.Registry, l.Upstream)}
	if ailing(l) {
		line.Trouble = admin.Trouble(v.messages, *l, v.now())
	}
	var requests uint64
	for _, c := range l.Classes {
		requests += c.Requests
		if c.Class == "manifest" {
			line.P50, line.P95 = millis(c.TTFBp50MS), millis(c.TTFBp95MS)
		}
	}
	line.P50, line.P95, line.Requests = orDash(line.P50), orDash(line.P95), count(requests)
	return line
}
