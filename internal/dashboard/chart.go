package dashboard

import (
	"fmt"
	"math"
	"strings"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/history"
)

// A chart is a picture of figures over time.
type chart struct {
	Title  string
	Label  string // all of it as a sentence
	Top    string // what the upper edge means
	Width  int
	Height int
	Shapes []shape
	Legend []key
	From   *moment
}

// A shape is a path that is drawn as its kind is: a line, or columns.
type shape struct{ Kind, Path string }

// A key says what is drawn how.
type key struct {
	shape
	Name, Sum string
}

// The kinds of shapes. Columns of different kinds have different patterns as well as
// colours, and the two lines are a whole one and a broken one.
const (
	lineHalf = "l50" // half of the values are below
	lineMost = "l95" // 19 of 20 are
	colOK    = "ok"
	colNo    = "no"
	colLimit = "limited"
	colNone  = "none"
	colBroke = "broken"
	colLeft  = "left"
)

// How large charts are, in their own units.
const (
	chartWidth  = 480
	chartHeight = 96
)

// charts are all for which there is something to show in past, which is not empty.
func (v *speaker) charts(past []history.Cell) []chart {
	var out []chart
	for _, c := range []*chart{v.latencyChart(past), v.rateChart(past), v.requestChart(past), v.quotaChart(past)} {
		if c != nil {
			c.Width, c.Height, c.From = chartWidth, chartHeight, v.at(past[0].Start)
			out = append(out, *c)
		}
	}
	return out
}

// latencyChart shows how long upstreams took for the first byte; nil if none did.
func (v *speaker) latencyChart(past []history.Cell) *chart {
	out := v.lines(past, func(c history.Cell) (half, most float64) { return c.P50MS, c.P95MS }, millis, ceiling)
	if out != nil {
		out.Title = v.messages.Text("dash.chart_latency")
		out.Label = v.messages.Text("dash.chart_latency_label", "p50", out.Legend[0].Sum, "p95", out.Legend[1].Sum, "top", out.Top)
	}
	return out
}

// rateChart shows how fast blobs came; nil if none was long enough to tell.
func (v *speaker) rateChart(past []history.Cell) *chart {
	out := v.lines(past, func(c history.Cell) (half, most float64) { return float64(c.RateP50), float64(c.RateP95) }, rate, rateCeiling)
	if out == nil {
		return nil
	}
	var received uint64
	for _, c := range past {
		received += c.Received
	}
	out.Title = v.messages.Text("dash.chart_rate")
	out.Label = v.messages.Text("dash.chart_rate_label", "p50", out.Legend[0].Sum, "p95", out.Legend[1].Sum, "top", out.Top, "sum", admin.Amount(int64(received)))
	return out
}

// lines shows two values of each cell as lines, and in the legend what they were lately;
// nil if there are none.
func (v *speaker) lines(past []history.Cell, values func(history.Cell) (half, most float64), unit func(float64) string, round func(float64) float64) *chart {
	edge, half, most := 0.0, 0.0, 0.0
	for _, c := range past {
		if h, m := values(c); m > 0 {
			edge, half, most = max(edge, m), h, m
		}
	}
	if edge == 0 {
		return nil
	}
	edge = round(edge)
	line := func(value func(history.Cell) float64) string {
		var b strings.Builder
		pen := "M"
		for i, c := range past {
			is := value(c)
			if is <= 0 {
				pen = "M" // what was not measured is a gap
				continue
			}
			at, y := x(i, len(past)), chartHeight*(1-is/edge)
			if pen == "M" {
				fmt.Fprintf(&b, "M%.1f %.1fh4", at-2, y) // a point alone is seen, as a dash
			} else {
				fmt.Fprintf(&b, "L%.1f %.1f", at, y)
			}
			pen = "L"
		}
		return b.String()
	}
	const stroke = "M0 5h10"
	return &chart{
		Top: unit(edge),
		Shapes: []shape{
			{lineMost, line(func(c history.Cell) float64 { _, m := values(c); return m })},
			{lineHalf, line(func(c history.Cell) float64 { h, _ := values(c); return h })},
		},
		Legend: []key{{shape{lineHalf, stroke}, "p50", unit(half)}, {shape{lineMost, stroke}, "p95", unit(most)}},
	}
}

// rate writes bytes per second.
func rate(bytes float64) string {
	if bytes <= 0 {
		return ""
	}
	return admin.Amount(int64(bytes)) + "/s"
}

// rateCeiling is the next round figure in the unit in which rate writes it.
func rateCeiling(bytes float64) float64 {
	unit := 1.0
	for bytes >= 1024*unit {
		unit *= 1024
	}
	return unit * ceiling(bytes/unit)
}

// An ending is how requests ended, in the order in which columns are stacked.
type ending struct {
	kind, name string // of a column, and of a text
	count      func(history.Cell) uint64
}

var endings = []ending{
	{colOK, "dash.answered", func(c history.Cell) uint64 { return c.OK }},
	{colNo, "dash.ended_no", func(c history.Cell) uint64 { return c.SaidNo }},
	{colLimit, "dash.ended_limited", func(c history.Cell) uint64 { return c.Limited }},
	{colNone, "dash.ended_none", unanswered},
	{colBroke, "dash.ended_broken", func(c history.Cell) uint64 { return c.Broken }},
}

// unanswered are the failed requests that got no answer, or an error.
func unanswered(c history.Cell) uint64 {
	return c.Failed - min(c.Failed, c.SaidNo+c.Limited+c.Broken)
}

// requestChart shows how many requests of an upstream ended how.
func (v *speaker) requestChart(past []history.Cell) *chart {
	var top uint64
	for _, c := range past {
		top = max(top, c.OK+c.Failed)
	}
	if top == 0 {
		return nil
	}
	edge := ceiling(float64(top))
	floor := make([]float64, len(past)) // how high each column is so far
	out := &chart{Title: v.messages.Text("dash.chart_requests"), Top: count(uint64(edge))}
	var told []string
	for _, e := range endings {
		var b strings.Builder
		var sum uint64
		for i, c := range past {
			n := e.count(c)
			if n == 0 {
				continue
			}
			h := chartHeight * float64(n) / edge
			if e.kind != colOK {
				h = max(h, 1.5) // one among thousands is to be seen
			}
			column(&b, i, len(past), floor[i], h)
			floor[i] += h
			sum += n
		}
		if sum == 0 && e.kind != colOK {
			continue
		}
		out.Shapes = append(out.Shapes, shape{e.kind, b.String()})
		out.Legend = append(out.Legend, key{shape{e.kind, square}, v.messages.Text(e.name), count(sum)})
		told = append(told, v.messages.Text(e.name)+" "+count(sum))
	}
	out.Label = v.messages.Text("dash.chart_requests_label", "list", strings.Join(told, v.messages.Text("summary.comma")), "top", out.Top)
	return out
}

// quotaChart shows the least that was left of a quota in each cell in which the upstream
// spoke of it; nil if it did in none.
func (v *speaker) quotaChart(past []history.Cell) *chart {
	var edge int64
	var last history.Cell
	least := int64(math.MaxInt64)
	for _, c := range past {
		if c.QuotaLimit > 0 {
			edge, least, last = max(edge, c.QuotaLimit), min(least, c.QuotaRemaining), c
		}
	}
	if edge == 0 {
		return nil
	}
	var b strings.Builder
	for i, c := range past {
		if c.QuotaLimit > 0 { // a quota that is spent is a line on the ground, and no word of it a gap
			column(&b, i, len(past), 0, max(1.5, chartHeight*float64(c.QuotaRemaining)/float64(edge)))
		}
	}
	left := v.messages.Text("dash.quota_left", "left", last.QuotaRemaining, "limit", last.QuotaLimit)
	return &chart{
		Title: v.messages.Text("dash.chart_quota"), Top: count(edge),
		Label:  v.messages.Text("dash.chart_quota_label", "now", left, "least", least, "top", count(edge)),
		Shapes: []shape{{colLeft, b.String()}},
		Legend: []key{{shape{colLeft, square}, left, ""}},
	}
}

// square is a column in a legend.
const square = "M0 1h10v8H0z"

// column draws the i-th of n columns, from a height on.
func column(b *strings.Builder, i, n int, from, height float64) {
	width := float64(chartWidth)/float64(n) - 1
	fmt.Fprintf(b, "M%.1f %.1fh%.1fv%.1fh-%.1fz", float64(i)*chartWidth/float64(n), chartHeight-from-height, width, height, width)
}

func x(i, n int) float64 { return (float64(i) + 0.5) * chartWidth / float64(n) }

// ceiling is the next round figure: 1, 2 or 5 and zeros.
func ceiling(f float64) float64 {
	if f <= 1 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(f)))
	for _, n := range []float64{1, 2, 5, 10} {
		if f <= n*unit {
			return n * unit
		}
	}
	return f
}

// A figureLine is one cell in figures, for readers that want these or cannot see charts.
type figureLine struct {
	At       string
	P50, P95 string
	Rate     string
	Received string
	Endings  []string // of requests, as endings has them
	Quota    string
}

// endingNames are the heads of the columns of Endings.
func (v *speaker) endingNames() []string {
	var out []string
	for _, e := range endings {
		out = append(out, v.messages.Text(e.name))
	}
	return out
}

// measured are the cells in which something was measured, the newest first.
func (v *speaker) measured(past []history.Cell) []figureLine {
	var out []figureLine
	for i := len(past) - 1; i >= 0; i-- {
		c := past[i]
		if c.P95MS == 0 && c.OK+c.Failed+c.Received == 0 && c.QuotaLimit == 0 {
			continue
		}
		line := figureLine{At: c.Start.Local().Format("01-02 15:04"), P50: orDash(millis(c.P50MS)), P95: orDash(millis(c.P95MS)), Rate: orDash(rate(float64(c.RateP50))), Received: "–", Quota: "–"}
		if c.Received > 0 {
			line.Received = admin.Amount(int64(c.Received))
		}
		if c.QuotaLimit > 0 {
			line.Quota = fmt.Sprintf("%d/%d", c.QuotaRemaining, c.QuotaLimit)
		}
		for _, e := range endings {
			line.Endings = append(line.Endings, count(e.count(c)))
		}
		out = append(out, line)
	}
	return out
}
