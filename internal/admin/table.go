package admin

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/healthcheck"
	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/messages"
	"github.com/pullchain/pullchain/internal/terminal"
)

// TableOptions say how a Snapshot is written for people. The zero value is the
// whole of it, in English, without colour, in this machine's time zone.
type TableOptions struct {
	Messages *messages.Catalogue // nil is English
	Color    bool                // ANSI colours
	Registry string              // only this one; empty is all
	Zone     *time.Location      // nil is time.Local
}

// maxFailovers is how many of the last failovers the table ends with.
const maxFailovers = 5

// WriteTable writes s for a person at a terminal: the summary, one line for each
// upstream, the quotas and the last failovers. Nothing that an upstream wrote
// gets into it but words that we know.
func WriteTable(w io.Writer, s Snapshot, o TableOptions) error {
	t := table{Snapshot: s, messages: o.Messages, color: o.Color, zone: o.Zone}
	if t.messages == nil {
		t.messages = messages.In(messages.English)
	}
	if t.zone == nil {
		t.zone = time.Local
	}
	if o.Registry != "" {
		t.Registries = nil
		if r := s.Find(o.Registry); r != nil {
			t.Registries = []Registry{*r}
		}
		t.Warnings = slices.DeleteFunc(slices.Clone(s.Warnings), func(w diagnose.Warning) bool {
			return len(w.Affects) > 0 && !slices.Contains(w.Registries(), o.Registry)
		})
	}
	t.summary()
	t.warnings()
	t.chains()
	t.served()
	t.quotas()
	t.cache()
	t.failovers()
	t.overrides()
	t.notifiers()
	t.traces()
	_, err := io.WriteString(w, t.out.String())
	return err
}

// A table is a Snapshot that is being written.
type table struct {
	Snapshot
	messages *messages.Catalogue
	color    bool
	zone     *time.Location
	out      strings.Builder
}

// line writes one line. What it says may come over the network, so whatever
// could steer a terminal is taken out of the parts first, see [terminal.Printable].
func (t *table) line(text string) { t.out.WriteString(strings.TrimRight(text, " ") + "\n") }

func (t *table) paint(color terminal.Color, text string) string {
	return t.orPlain(color).Paint(text)
}

// orPlain is color, or none where the reader wants none.
func (t *table) orPlain(color terminal.Color) terminal.Color {
	if !t.color {
		return ""
	}
	return color
}

// summary writes the first line: how things are, in a word and a sentence.
func (t *table) summary() {
	s := SummarizeIn(t.messages, chains(t.Registries), t.Cache, t.Now, t.Warnings...)
	if t.Draining {
		t.line(t.paint(terminal.Yellow, t.messages.Text("level.draining")) + "  " + t.messages.Text("summary.draining"))
		return
	}
	t.line(t.paint(levelColors[s.Level], t.messages.Text("level."+s.Level)) + "  " + terminal.Printable(s.Text))
}

// chains writes a line for each lane.
func (t *table) chains() {
	m := t.messages
	g := terminal.Grid{{
		{Text: m.Text("table.registry")}, {Text: m.Text("table.path")}, {}, {Text: m.Text("table.upstream")}, {Text: m.Text("table.state")},
		{Text: m.Text("table.via")}, {Text: m.Text("table.p95"), Right: true}, {Text: m.Text("table.ok"), Right: true},
		{Text: m.Text("table.probes")}, {Text: m.Text("table.why")},
	}}
	for _, r := range t.Registries {
		serving := servingLane(r.Snapshot)
		for i := range r.Lanes {
			l := &r.Lanes[i]
			name, arrow := "", ""
			if i == 0 {
				name = r.Registry
			}
			if serving == l {
				arrow = "▶"
			}
			g = append(g, []terminal.Cell{
				{Text: name}, {Text: fmt.Sprint(l.Order)}, {Text: arrow}, {Text: l.Upstream},
				{Text: m.Text("state." + l.State), Color: t.orPlain(stateColors[l.State])},
				{Text: l.Via}, {Text: p95(*l), Right: true}, {Text: success(*l), Right: true},
				{Text: bars(&r, l.Upstream)}, {Text: t.reason(*l)},
			})
		}
	}
	t.out.WriteString(g.String())
}

// reason says why a lane is in the state it is in, if that needs saying.
func (t *table) reason(l balancer.LaneSnapshot) string {
	switch {
	case l.Code != "" || outOfOrderStates[l.State] || l.State == balancer.StateDegraded:
		return strings.TrimSpace(why(t.messages, l)) + until(t.messages, l, t.Now)
	case l.State == balancer.StateUnknown:
		return t.messages.Text("table.not_probed")
	case l.Quota != nil && l.Quota.SparedUntil != nil:
		return t.messages.Text("why." + string(pullchain.CodeQuotaLow))
	}
	return ""
}

// p95 is the time to the first byte of a manifest that 19 of 20 answers keep.
func p95(l balancer.LaneSnapshot) string {
	for _, c := range l.Classes {
		if c.Class != "manifest" || c.TTFBp95MS <= 0 {
			continue
		}
		if c.TTFBp95MS < 10 {
			return fmt.Sprintf("%.1f ms", c.TTFBp95MS)
		}
		return fmt.Sprintf("%.0f ms", c.TTFBp95MS)
	}
	return "-"
}

// success is the share of requests that the lane answered well.
func success(l balancer.LaneSnapshot) string {
	var requests, failures uint64
	for _, c := range l.Classes {
		requests += c.Requests
		failures += c.Failures
	}
	if requests == 0 {
		return "-"
	}
	percent := 100 * float64(requests-min(failures, requests)) / float64(requests)
	if failures > 0 && percent > 99.9 { // never round a failure away
		percent = 99.9
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", percent), ".0") + "%"
}

// maxBars is how many probes are shown.
const maxBars = 12

// bars shows the last probes of an upstream, the newest last: high passed, low
// failed. A row of them shows a lane that flaps, which a state alone does not.
func bars(r *Registry, upstream string) string {
	p, ok := r.Probe(upstream)
	if !ok {
		return ""
	}
	history := p.History[max(0, len(p.History)-maxBars):]
	var b strings.Builder
	for _, h := range history {
		if h.OK() {
			b.WriteRune('▇')
		} else {
			b.WriteRune('▁')
		}
	}
	return b.String() + count(p)
}

// count writes a probe result on its way to change as HAProxy does: 2 of 3 failures.
func count(p healthcheck.TargetSnapshot) string {
	switch {
	case p.Up && p.Falling > 0:
		return fmt.Sprintf(" %d/%d", p.Falling, p.Fall)
	case !p.Up && p.Rising > 0:
		return fmt.Sprintf(" %d/%d", p.Rising, p.Rise)
	}
	return ""
}

// quotas writes a line for each upstream that has said how many pulls are left.
func (t *table) quotas() {
	for _, r := range t.Registries {
		for _, l := range r.Lanes {
			if l.Quota == nil || l.Quota.Limit == 0 {
				continue
			}
			q := l.Quota
			t.line(terminal.Printable(t.messages.Text("table.quota", "registry", r.Registry, "upstream", l.Upstream,
				"left", q.Remaining, "limit", q.Limit, "window", Wait(t.messages, time.Duration(q.WindowS)*time.Second),
				"at", q.At.In(t.zone).Format(time.TimeOnly))))
		}
	}
}

// failovers writes the newest ones of all registries.
func (t *table) failovers() {
	var last []balancer.Failover
	var total uint64
	for _, r := range t.Registries {
		last = append(last, r.Failovers...)
		total += r.FailoversTotal
	}
	if total == 0 {
		return
	}
	slices.SortStableFunc(last, func(a, b balancer.Failover) int { return b.At.Compare(a.At) })
	t.line(t.messages.Text("table.failovers", "count", total))
	for _, f := range last[:min(len(last), maxFailovers)] {
		t.line("  " + terminal.Printable(t.failover(f)))
	}
}

// failover writes one change from an upstream to another.
func (t *table) failover(f balancer.Failover) string {
	s := fmt.Sprintf("%s  %s → %s  %s  %s  +%d ms  %s", f.At.In(t.zone).Format(time.TimeOnly), f.From, f.To,
		t.messages.Text("phase."+f.Phase), f.Code, f.AddedMS, shortImage(f.Image))
	if f.Phase == "blob_mid" {
		s += "  " + t.messages.Text("table.at_byte", "offset", f.Offset)
	}
	return s
}

// warnings writes each cause that wants a look in a line, and what to do about it in
// another. What is only worth knowing stands where its figures are.
func (t *table) warnings() {
	for _, w := range t.Warnings {
		if w.Severity == diagnose.Info {
			continue
		}
		color := terminal.Yellow
		if w.Severity == diagnose.Critical {
			color = terminal.Red
		}
		since := t.messages.Text("table.since", "at", w.Since.In(t.zone).Format(time.TimeOnly))
		t.line(t.paint(color, "! ") + terminal.Printable(w.Title(t.messages, t.Now)+since))
		t.line("  " + terminal.Printable(strings.TrimSpace(w.Advice(t.messages, t.Now)+" "+w.Fix)))
	}
}

// shortImage cuts the digest in an image's name to what people compare.
func shortImage(image string) string {
	name, sum, ok := strings.Cut(image, "@sha256:")
	if !ok || len(sum) < 12 {
		return image
	}
	return name + "@" + sum[:12]
}
