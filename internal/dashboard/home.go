package dashboard

import (
	"slices"
	"strconv"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/diagnose"
)

// A homeModel is the first page: what a reader wants to know within three seconds on
// top, what led to it below.
type homeModel struct {
	Verdict verdict
	Usage   usage
	pullsModel
	Chains    []chain
	Failovers failoverLog
	Quotas    []quota
	Cache     *cacheModel
	Demo      *demoPanel // of `pullchain demo` alone
}

// home shows everything at once, or those parts of it that are asked for: the one with
// the pulls is, every second.
func home(d *dashboard, v *visit) (string, any) {
	var m homeModel
	if v.wants("verdict") {
		m.Verdict = d.verdict(v)
		v.Title = m.Verdict.Headline
	}
	if v.wants("chains") {
		m.Chains = d.chains(v)
	}
	if v.wants("usage") {
		m.Usage = d.usage(v)
	}
	if v.wants("active") {
		m.pullsModel = d.pulls(v, homePulls)
	}
	if v.wants("failovers") {
		m.Failovers = v.failovers("", homeFailovers)
	}
	m.Quotas, m.Cache, m.Demo = v.quotas(), v.cache(), d.demo(v)
	return "home", &m
}

// homePulls is how many pulls that are over the first page shows.
const homePulls = 5

// homeFailovers is how many of the last failovers the first page shows.
const homeFailovers = 10

// A verdict is the answer to "do pulls work?".
type verdict struct {
	Level     string
	Icon      string
	Favicon   string
	Word      string // of the level
	Headline  string // short enough to be read from afar, and for the tab
	Text      string // the sentence of the summary
	Notes     []note
	Facts     []fact
	Overrides []overrideLine
	Version   string
	Started   *moment
	Source    string // of the configuration
	Loaded    *moment
}

// A note is something that an operator should know of, below the verdict.
type note struct {
	Key      string
	Severity string // info, warning, critical
	Title    string
	Advice   string
	Affects  []string // a registry, or registry/upstream
	More     int      // that it affects too
	Text     string   // foreign text, such as an error
	Since    *moment
	Fix      string // a command
	Act      *action
}

// A fact is a figure with its name.
type fact struct {
	Value, Name, Href string
}

// maxAffects is how many of what a warning is about are named.
const maxAffects = 4

// verdict says how things are.
func (d *dashboard) verdict(v *visit) verdict {
	s := &v.Snapshot
	out := verdict{Level: v.Level, Icon: favicons[v.Level].icon, Favicon: v.Favicon(), Word: v.messages.Text("level." + v.Level), Version: s.Version,
		Started: v.at(s.Started), Source: s.Config.Source, Loaded: v.at(s.Config.LoadedAt)}
	standing := map[string]int{}
	for i := range s.Registries {
		standing[admin.Standing(s.Registries[i].Snapshot)]++
	}
	out.Headline = v.headline(standing)
	out.Text = admin.SummarizeIn(v.messages, s.Chains(), s.Cache, v.now(), s.Warnings...).Text
	if s.Draining {
		out.Text = v.messages.Text("summary.draining")
	}
	for _, w := range admin.TellWarnings(v.messages, *s) {
		n := note{Severity: w.Severity, Title: w.Title, Advice: w.Advice, Since: v.at(w.Since), Fix: w.Fix, Affects: w.Affects, Key: w.ID}
		if extra := len(w.Affects) - maxAffects; extra > 0 {
			n.Affects, n.More = w.Affects[:maxAffects], extra
		}
		if w.Code == diagnose.ReloadFailed && d.canAct(v) {
			a := v.actOn(string(admin.KindReload), "")
			n.Act = &a
		}
		out.Notes = append(out.Notes, n)
	}
	for _, n := range s.Notifiers { // what it has not told shows nowhere else
		if n.LastError != "" {
			out.Notes = append(out.Notes, note{Severity: "warning", Title: v.messages.Text("notify.trouble_title", "name", n.Name, "kind", n.Kind),
				Text: n.LastError, Fix: "pullchain notify test " + n.Name})
		}
	}
	if t := s.Traces; t != nil && t.LastError != "" {
		out.Notes = append(out.Notes, note{Severity: "warning", Title: v.messages.Text("traces.trouble_title", "endpoint", t.Endpoint), Text: t.LastError})
	}
	out.Facts, out.Overrides = v.facts(standing[admin.Pullable]), d.overrides(v)
	return out
}

// headline is the verdict in as few words as can be.
func (v *visit) headline(standing map[string]int) string {
	failed := standing[admin.Unreachable]
	switch {
	case v.Level == "draining":
		return v.messages.Text("dash.head_draining")
	case v.Level == admin.LevelOutage:
		return v.messages.Text("dash.head_outage")
	case failed > 0:
		return v.messages.Text("dash.head_some", "failed", failed, "all", len(v.Snapshot.Registries))
	case v.pullsFailing(diagnose.Critical) > 0:
		return v.messages.Text("dash.head_failing", "failed", v.pullsFailing(diagnose.Critical), "all", len(v.Snapshot.Registries))
	case v.pullsFailing(diagnose.Degraded) > 0:
		return v.messages.Text("dash.head_image")
	case standing[admin.Starting] > 0:
		return v.messages.Text("dash.head_starting")
	case v.Level == admin.LevelDegraded:
		return v.messages.Text("dash.head_degraded")
	}
	return v.messages.Text("dash.head_ok")
}

// pullsFailing counts the registries that have a path and of which clients get nothing,
// of one severity.
func (v *visit) pullsFailing(severity string) int {
	n := 0
	for _, w := range v.Snapshot.Warnings {
		if w.Code == diagnose.PullsFailing && w.Severity == severity {
			n++
		}
	}
	return n
}

// facts are the figures beside the verdict.
func (v *visit) facts(pullable int) []fact {
	var served, failovers uint64
	for i := range v.Snapshot.Registries {
		r := &v.Snapshot.Registries[i]
		failovers += r.FailoversTotal
		for _, s := range r.Served {
			served += s.Requests
		}
	}
	out := []fact{
		{count(pullable) + "\u2009/\u2009" + count(len(v.Snapshot.Registries)), v.messages.Text("dash.fact_registries"), "#chains"},
		{count(served), v.messages.Text("dash.fact_served"), "#usage"},
		{count(failovers), v.messages.Text("dash.fact_failovers"), "#failovers"},
	}
	if c := v.Snapshot.Cache; c != nil && c.Hits+c.Misses > 0 {
		out = append(out, fact{percent(c.Hits, c.Hits+c.Misses), v.messages.Text("dash.fact_hits"), "#cache"})
	}
	return out
}

// A usage answers "is my mirror used?".
type usage struct {
	Used    bool
	Minutes int
	Served  []servedLine
	Clients []clientLine
	Mirror  string // the address that clients use
}

// A servedLine is what clients of one registry got lately.
type servedLine struct {
	Registry  string
	Manifests []share
	Blobs     []share
}

// A share is how much one upstream, or the cache, had in that.
type share struct {
	Name  string // empty is the cache
	Count string
}

// homeClients is how many clients the first page shows.
const homeClients = 5

func (d *dashboard) usage(v *visit) usage {
	u := usage{Mirror: v.mirror(), Clients: d.clients(v, homeClients)}
	u.Used = len(u.Clients) > 0
	for i := range v.Snapshot.Registries {
		r := &v.Snapshot.Registries[i]
		line := servedLine{Registry: r.Registry}
		for _, s := range r.Served {
			u.Used, u.Minutes = true, s.Minutes
			one := share{s.Upstream, count(s.Requests)}
			if s.Class == "manifest" {
				line.Manifests = append(line.Manifests, one)
			} else {
				line.Blobs = append(line.Blobs, one)
			}
		}
		if len(r.Served) > 0 {
			u.Served = append(u.Served, line)
		}
	}
	return u
}

// A failoverLog are the last failovers of all registries, newest first.
type failoverLog struct {
	Total uint64
	Lines []failoverLine
}

// A failoverLine is one request that another upstream answered than the first asked.
type failoverLine struct {
	Key       string // tells it from all others on the page
	At        *moment
	Registry  string
	From, To  string
	Why       string
	Code      string
	Phase     string
	Added     string
	Offset    string
	Image     string // with the digest cut short
	FullImage string
}

// failovers returns the newest of one registry, or of all for an empty name.
func (v *visit) failovers(registry string, limit int) failoverLog {
	var last []balancer.Failover
	log := failoverLog{}
	for i := range v.Snapshot.Registries {
		r := &v.Snapshot.Registries[i]
		if registry != "" && r.Registry != registry {
			continue
		}
		log.Total += r.FailoversTotal
		for _, f := range r.Failovers {
			f.Registry = r.Registry
			last = append(last, f)
		}
	}
	slices.SortStableFunc(last, func(a, b balancer.Failover) int { return b.At.Compare(a.At) })
	for _, f := range last[:min(len(last), limit)] {
		log.Lines = append(log.Lines, v.failover(f))
	}
	return log
}

func (v *speaker) failover(f balancer.Failover) failoverLine {
	line := failoverLine{
		Key: strconv.FormatInt(f.At.UnixNano(), 36) + f.Registry,
		At:  v.at(f.At), Registry: f.Registry, From: f.From, To: f.To, Code: string(f.Code), Why: v.why(string(f.Code)),
		Phase: v.messages.Text("phase." + f.Phase), Image: shortImage(f.Image), FullImage: f.Image,
	}
	if f.AddedMS > 0 {
		line.Added = "+" + millis(float64(f.AddedMS))
	}
	if f.Phase == "blob_mid" {
		line.Offset = v.messages.Text("dash.at_offset", "size", admin.Amount(f.Offset))
	}
	return line
}

// A quota is what an upstream last said of the pulls that are left.
type quota struct {
	Registry, Upstream, Href string
	Remaining, Limit, Low    int
	Share                    string // as a percentage
	Spent                    bool
	Window                   string
	Source                   string
	Read                     *moment
}

func (v *visit) quotas() []quota {
	var out []quota
	for i := range v.Snapshot.Registries {
		r := &v.Snapshot.Registries[i]
		for _, l := range r.Lanes {
			if q := l.Quota; q != nil && q.Limit > 0 {
				out = append(out, quota{
					Registry: r.Registry, Upstream: l.Upstream, Href: upstreamPath(r.Registry, l.Upstream), Remaining: q.Remaining, Limit: q.Limit,
					Low: q.Limit / 10, Share: percent(uint64(max(q.Remaining, 0)), uint64(q.Limit)), Spent: q.Remaining <= 0,
					Window: admin.Wait(v.messages, time.Duration(q.WindowS)*time.Second), Source: q.Source, Read: v.at(q.At),
				})
			}
		}
	}
	return out
}

// A cacheModel is the cache in a few figures.
type cacheModel struct {
	Dir            string
	Trouble        string
	Full           bool
	Bytes, Limit   int64
	Size, Of, Free string
	Share          string
	Facts          []fact
	Oldest         *moment
}

func (v *visit) cache() *cacheModel {
	c := v.Snapshot.Cache
	if c == nil {
		return nil
	}
	m := &cacheModel{Dir: c.Dir, Trouble: c.Trouble, Full: c.Full, Bytes: c.Bytes, Limit: c.Limit, Size: admin.Amount(c.Bytes), Of: admin.Amount(c.Limit),
		Free: admin.Amount(c.Free), Share: percent(uint64(max(c.Bytes, 0)), uint64(max(c.Limit, 0))), Oldest: v.atOf(c.Oldest)}
	text := v.messages.Text
	m.Facts = []fact{{Value: count(c.Objects), Name: text("dash.cache_objects")}, {Value: admin.Amount(c.SavedBytes), Name: text("dash.cache_saved")}}
	if all := c.Hits + c.Misses; all > 0 {
		m.Facts = append(m.Facts, fact{Value: percent(c.Hits, all), Name: text("dash.fact_hits")})
	}
	for _, f := range []fact{
		{count(c.Coalesced), text("dash.cache_coalesced"), ""}, {count(c.StaleServed), text("dash.cache_stale"), ""},
		{count(c.Evictions), text("dash.cache_evictions"), ""}, {count(c.VerifyFailures), text("dash.cache_wrong"), ""},
	} {
		if f.Value != "0" {
			m.Facts = append(m.Facts, f)
		}
	}
	return m
}
