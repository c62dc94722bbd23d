package dashboard

import (
	"cmp"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/traffic"
)

// A requestLine is a request that is over, as a line of a list.
type requestLine struct {
	ID       string
	Href     string
	At       *moment
	Client   string
	What     string // kind and reference
	Image    string
	Method   string
	Status   int
	Level    string // ok, detour (served, with trouble), none (failed)
	Icon     string
	Took     string
	Size     string
	From     string // the upstream; empty: the cache
	Cache    string
	Attempts int
	Code     string
	Gone     bool
}

func (v *speaker) request(r *traffic.Request) requestLine {
	line := requestLine{
		ID: "q" + r.ID, Href: "/requests/" + r.ID, At: v.at(r.At), Client: r.Client, Image: shortImage(r.Image()), Method: r.Method, Status: r.Status,
		What: v.messages.Text("dash.op." + r.Kind), Took: millis(r.TookMS), From: r.Upstream, Cache: r.Cache, Attempts: len(r.Attempts), Code: r.Code, Gone: r.Gone, Level: chainOK,
	}
	switch {
	case r.Failed:
		line.Level = chainNone
	case r.Degraded:
		line.Level = chainDetour
	}
	line.Icon = chainIcons[line.Level]
	if r.Bytes > 0 {
		line.Size = admin.Amount(r.Bytes)
	}
	return line
}

// A requestModel is the page of one request: the why of its answer.
type requestModel struct {
	requestLine
	PullHref  string
	Verdict   string
	Said      string // the text of the error that the client got
	Facts     []pair
	Attempts  []attemptLine
	Width     int // of the picture of the attempts
	Findings  []finding
	UserAgent string
}

// An attemptLine is one try at one upstream, in words and as a beam over time.
type attemptLine struct {
	Href     string
	Upstream string
	Said     string
	Text     string
	Icon     string
	Level    string
	At, Took string
	X, W     int // of its beam
	Beside   bool
	Offset   string
	Retry    string
}

// beamWidth is how wide the time of a request is drawn.
const beamWidth = 600

// requestView is the page of one request.
func requestView(d *dashboard, v *visit) (string, any) {
	if d.Traffic == nil {
		return notFound(d, v)
	}
	r, ok := d.Traffic.Request(v.id)
	if !ok {
		return gone(v)
	}
	v.Title = v.messages.Text("dash.request", "id", r.ID)
	m := requestModel{requestLine: v.request(&r), Width: beamWidth, Findings: v.findings([]traffic.Request{r}), UserAgent: r.UserAgent, Said: r.Error}
	if r.Pull != "" {
		m.PullHref = "/pulls/" + r.Pull
	}
	m.Verdict = v.messages.Text("dash.outcome."+cmp.Or(map[string]string{chainNone: "failed", chainDetour: "degraded"}[m.Level], "ok"), "upstream", cmp.Or(r.Upstream, v.messages.Text("served.cache")))
	text := v.messages.Text
	m.Facts = []pair{{Name: text("dash.col_client"), Value: r.Client + " · " + r.Addr}, {Name: text("dash.col_form"), Value: v.form(r.Form)}, {Name: text("dash.col_request"), Value: r.Method + " " + r.Image()}}
	if r.Range != "" {
		m.Facts = append(m.Facts, pair{Name: text("dash.range"), Value: r.Range})
	}
	m.Facts = append(m.Facts, pair{Name: text("dash.status"), Value: count(r.Status)}, pair{Name: text("dash.col_size"), Value: admin.Amount(r.Bytes)},
		pair{Name: text("dash.chart_latency"), Value: orDash(millis(r.TTFBMS))}, pair{Name: text("dash.took"), Value: orDash(millis(r.TookMS))}, pair{Name: text("dash.cache"), Value: orDash(r.Cache)})
	if r.Resumes > 0 {
		m.Facts = append(m.Facts, pair{Name: text("dash.resumed"), Value: admin.Amount(r.ResumedBytes)})
	}
	for i := range r.Attempts {
		m.Attempts = append(m.Attempts, v.attempt(&r, &r.Attempts[i]))
	}
	return "request", &m
}

func (v *speaker) attempt(r *traffic.Request, a *traffic.Attempt) attemptLine {
	line := attemptLine{
		Href: upstreamPath(r.Registry, a.Upstream), Upstream: a.Upstream, Text: a.Text, At: "+" + cmp.Or(millis(a.AtMS), "0 ms"), Took: millis(a.MS), Beside: a.Hedge,
		Level: chainOK, Icon: chainIcons[chainOK], Said: v.messages.Text("dash.attempt_ok"),
	}
	switch {
	case a.Gate != "":
		line.Level, line.Icon, line.Said = chainUnknown, "disabled", v.messages.Text("dash.attempt_gate", "gate", v.gateWord(a.Gate))
		if a.Code != "" {
			line.Said += v.messages.Text("summary.comma") + v.why(a.Code)
		}
	case a.Outcome != "ok":
		line.Level, line.Icon, line.Said = chainNone, chainIcons[chainNone], v.why(cmp.Or(a.Code, a.Word))
		if !a.Trouble {
			line.Level, line.Icon = chainUnknown, "info"
		}
	}
	if a.Offset > 0 {
		line.Offset = v.messages.Text("dash.at_offset", "size", admin.Amount(a.Offset))
	}
	if a.RetryS > 0 {
		line.Retry = v.messages.Text("dash.retry", "n", a.RetryS)
	}
	all := max(r.TookMS, a.AtMS+a.MS, 1)
	line.X = int(beamWidth * a.AtMS / all)
	line.W = max(3, int(beamWidth*a.MS/all))
	return line
}

func (v *speaker) gateWord(gate string) string {
	if key := "dash.gate." + gate; v.messages.Has(key) {
		return v.messages.Text(key)
	}
	return gate
}

// form says how a client named the registry.
func (v *speaker) form(word string) string {
	if key := "dash.form." + word; v.messages.Has(key) {
		return v.messages.Text(key)
	}
	return word
}
