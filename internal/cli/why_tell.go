package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/terminal"
	"github.com/pullchain/pullchain/internal/traffic"
)

// printable takes out of a text what could steer a terminal.
func printable(text string) string { return terminal.Printable(text) }

// A teller writes the story of a pull for people.
type teller struct{ *app }

// tell writes what happened for people.
func (a teller) tell(found *whyAnswer) {
	if p := found.Pull; p != nil {
		a.tellPull(p)
	} else {
		r := found.Request
		a.line(0, "trace.title", "time", clock(r.At), "client", r.Client, "addr", r.Addr, "image", r.Image(), "form", r.Form)
		a.tellRequest(r, r.At)
	}
	a.tellFindings(found.Findings)
}

// tellPull writes the timeline of a pull: each request that something was wrong with,
// or that it took more than one try to answer, and the others in sums.
func (a teller) tellPull(p *traffic.Pull) {
	image := p.Image()
	if p.Platform != "" {
		image += " " + p.Platform
	}
	a.line(0, "trace.title", "time", clock(p.Started), "client", p.Client, "addr", p.Addr, "image", image, "form", p.Form)
	state := p.State
	if state == traffic.StateDone && p.Degraded > 0 {
		state = "degraded"
	}
	fmt.Fprintf(a.Stdout, "  %s  %s\n", a.paint(pullColor(state), a.messages.Text("pulls."+state)), a.amount(p))
	var rest []*traffic.Request
	for i := range p.Requests {
		r := &p.Requests[i]
		if r.Failed || r.Degraded || r.Gone || len(r.Attempts) > 1 || p.Reference != "" && r.Reference == p.Reference {
			a.tellRequest(r, p.Started)
			continue
		}
		rest = append(rest, r)
	}
	a.tellRest(rest)
	if gone := p.Asked - len(p.Requests); gone > 0 {
		a.line(2, "trace.forgotten", "count", gone)
	}
	if p.Resumes > 0 {
		a.line(2, "trace.resumed", "count", p.Resumes, "bytes", size(p.ResumedBytes))
	}
}

// amount says how much of a pull was sent.
func (a teller) amount(p *traffic.Pull) string {
	if p.LayersTotal == 0 {
		return a.messages.Text("trace.bytes", "bytes", size(p.Bytes))
	}
	return a.messages.Text("trace.layers", "done", p.LayersDone, "total", p.LayersTotal, "bytes", size(p.Bytes), "size", size(p.Total))
}

// tellRequest writes one request and its attempts.
func (a teller) tellRequest(r *traffic.Request, began time.Time) {
	head := a.messages.Text("trace.request", "at", span(r.At.Sub(began)), "method", r.Method, "kind", r.Kind, "reference", shortRef(r.Reference))
	end := a.messages.Text("trace.status", "status", r.Status, "took", span(millis(r.TookMS)))
	switch {
	case r.Gone:
		end = a.messages.Text("trace.gone", "bytes", size(r.Bytes))
	case r.Failed && r.Status < 400:
		end = a.messages.Text("trace.cut", "bytes", size(r.Bytes))
	case r.Cache != "":
		end += ", " + a.messages.Text("pulls.cache") + " " + r.Cache
	}
	fmt.Fprintf(a.Stdout, "  %s  %s  (%s)\n", printable(head), printable(end), printable(r.ID))
	var g terminal.Grid
	for i := range r.Attempts {
		g = append(g, a.attemptRow(r, i))
	}
	fmt.Fprint(a.Stdout, indent(g.String(), "    "))
}

// attemptRow is a line of the timeline: when, which upstream, the word, why, and what was
// done about it.
func (a teller) attemptRow(r *traffic.Request, i int) []terminal.Cell {
	t := &r.Attempts[i]
	why, color := "", terminal.Green
	if t.Outcome == "ok" {
		why = span(millis(t.MS))
	} else {
		color = terminal.Yellow
		why = admin.Said(a.messages, t.Upstream, codeWord(t))
		if t.RetryS > 0 {
			why += "; " + a.messages.Text("trace.retry", "wait", admin.Wait(a.messages, time.Duration(t.RetryS)*time.Second))
		}
	}
	if !a.color(a.Stdout) {
		color = ""
	}
	return []terminal.Cell{
		{Text: "+" + span(millis(t.AtMS)), Right: true}, {Text: t.Upstream}, {Text: codeWord(t), Color: color}, {Text: why}, {Text: a.done(r, i)},
	}
}

// codeWord is the word of an attempt: the code of what was behind it.
func codeWord(t *traffic.Attempt) string {
	if t.Code != "" {
		return t.Code
	}
	return t.Word
}

// done says what was done about an attempt.
func (a teller) done(r *traffic.Request, i int) string {
	m, t := a.messages, &r.Attempts[i]
	next := (*traffic.Attempt)(nil)
	for j := i + 1; j < len(r.Attempts) && next == nil; j++ {
		if r.Attempts[j].Gate == "" {
			next = &r.Attempts[j]
		}
	}
	switch {
	case t.Outcome == "ok" && (next != nil && cutLater(r.Attempts[i+1:], t.Upstream) || r.Failed):
		return m.Text("trace.began")
	case t.Outcome == "ok":
		return m.Text("trace.served")
	case t.Gate != "":
		return m.Text("trace.not_asked", "gate", t.Gate)
	case t.Code == "canceled":
		return m.Text("trace.late")
	case next == nil && r.Failed && r.Status < 400:
		return m.Text("trace.gave_up")
	case next == nil && r.Failed:
		return m.Text("trace.error", "status", r.Status)
	case next == nil && r.Cache == "stale":
		return m.Text("trace.stale_copy")
	case next == nil:
		return ""
	case next.Upstream == t.Upstream:
		return m.Text("trace.again", "offset", size(next.Offset))
	case next.Offset > 0:
		return m.Text("trace.on", "upstream", next.Upstream, "offset", size(next.Offset))
	}
	return m.Text("trace.then", "upstream", next.Upstream)
}

// cutLater reports whether a body of upstream failed midway.
func cutLater(attempts []traffic.Attempt, upstream string) bool {
	for _, t := range attempts {
		if t.Cut && t.Upstream == upstream {
			return true
		}
	}
	return false
}

// tellRest sums up the requests that went well.
func (a teller) tellRest(rest []*traffic.Request) {
	if len(rest) == 0 {
		return
	}
	type sum struct {
		n     int
		bytes int64
	}
	var order []string
	sums := map[string]*sum{}
	for _, r := range rest {
		if sums[r.Upstream] == nil {
			order = append(order, r.Upstream)
			sums[r.Upstream] = &sum{}
		}
		sums[r.Upstream].n++
		sums[r.Upstream].bytes += r.Bytes
	}
	var parts []string
	for _, name := range order {
		key := "trace.rest_upstream"
		if name == "" {
			key = "trace.rest_cache"
		}
		parts = append(parts, strings.ReplaceAll(a.messages.Text(key, "count", sums[name].n, "bytes", size(sums[name].bytes)), "{upstream}", name))
	}
	fmt.Fprintf(a.Stdout, "  %s %s\n", a.messages.Text("trace.rest"), printable(strings.Join(parts, a.messages.Text("summary.comma"))))
}

// tellFindings writes what went wrong, what said so, and the next step.
func (a teller) tellFindings(findings []admin.Finding) {
	if len(findings) == 0 {
		a.say("trace.well")
		return
	}
	a.say("trace.findings")
	for _, f := range findings {
		said := f.Said
		if f.Times > 1 {
			said = a.messages.Text("trace.finding", "said", f.Said, "count", f.Times)
		}
		word := ""
		if f.Code != "" {
			word = f.Code + "  "
		}
		fmt.Fprintf(a.Stdout, "  %s%s\n", a.paint(terminal.Yellow, printable(word)), printable(said))
		if f.Text != "" {
			a.line(4, "trace.text", "text", f.Text)
		}
		if f.Next != "" {
			a.line(4, "trace.next", "step", f.Next)
		}
	}
}

func millis(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// span writes a short time: "38 ms", "4.2 s", "3 min".
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f min", d.Minutes())
}

// clock is a time as the timeline begins with.
func clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05.000") }

// shortRef cuts a digest to what people compare.
func shortRef(reference string) string {
	algorithm, sum, ok := strings.Cut(reference, ":")
	if !ok || len(sum) < 12 {
		return reference
	}
	return algorithm + ":" + sum[:12]
}

// indent puts pad before each line.
func indent(text, pad string) string {
	if text == "" {
		return ""
	}
	return pad + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+pad) + "\n"
}

// pullColor is that of a state of a pull.
func pullColor(state string) terminal.Color {
	switch state {
	case traffic.StateFailed:
		return terminal.Red
	case "degraded":
		return terminal.Yellow
	}
	return terminal.Green
}

// line writes a line of the catalogue, indented.
func (a teller) line(indent int, key string, pairs ...any) {
	fmt.Fprintf(a.Stdout, "%*s%s\n", indent, "", printable(a.messages.Text(key, pairs...)))
}
