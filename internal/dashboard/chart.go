package dashboard

import (
	"fmt"
	"math"
	"strings"

	"github.com/pullchain/pullchain/internal/history"
)

// A chart is a picture of figures over time.
type chart struct {
	Title  string
	Label  string // all of it as a sentence
	Top    string // what the upper edge means
	Width  int
	Height int
	Shapes []run // paths, the Level of each is its class
	Legend []run // class and name
	From   *moment
}

// How large charts are, in their own units.
const (
	chartWidth  = 480
	chartHeight = 96
)

// latencyChart shows how long upstreams took for the first byte; nil if none did.
func (v *speaker) latencyChart(past []history.Cell) *chart {
	top := 0.0
	for _, c := range past {
		top = max(top, c.P95MS)
	}
	if top == 0 {
		return nil
	}
	top = ceiling(top)
	line := func(value func(history.Cell) float64) string {
		var b strings.Builder
		pen := "M"
		for i, c := range past {
			ms := value(c)
			if ms <= 0 {
				pen = "M" // what was not measured is a gap
				continue
			}
			// A point alone would not be seen: it is drawn as a dash.
			fmt.Fprintf(&b, "%s%.1f %.1fh.1", pen, x(i, len(past)), chartHeight*(1-ms/top))
			pen = "L"
		}
		return b.String()
	}
	last := history.Cell{}
	for _, c := range past {
		if c.P95MS > 0 {
			last = c
		}
	}
	return &chart{
		Title: v.messages.Text("dash.chart_latency"), Top: millis(top), Width: chartWidth, Height: chartHeight, From: v.at(past[0].Start),
		Label: v.messages.Text("dash.chart_latency_label", "p50", orDash(millis(last.P50MS)), "p95", orDash(millis(last.P95MS)), "top", millis(top)),
		Shapes: []run{
			{"l95", line(func(c history.Cell) float64 { return c.P95MS })},
			{"l50", line(func(c history.Cell) float64 { return c.P50MS })},
		},
		Legend: []run{{"l50", "p50"}, {"l95", "p95"}},
	}
}

// requestChart shows how many requests an upstream answered, and how many it failed.
func (v *speaker) requestChart(past []history.Cell) *chart {
	var top, ok, failed uint64
	for _, c := range past {
		top = max(top, c.OK+c.Failed)
		ok, failed = ok+c.OK, failed+c.Failed
	}
	if top == 0 {
		return nil
	}
	scale := ceiling(float64(top))
	var good, bad strings.Builder
	width := float64(chartWidth)/float64(len(past)) - 1
	for i, c := range past {
		left := float64(i) * chartWidth / float64(len(past))
		h := chartHeight * float64(c.OK) / scale
		f := chartHeight * float64(c.Failed) / scale
		if c.OK > 0 {
			fmt.Fprintf(&good, "M%.1f %.1fh%.1fv%.1fh-%.1fz", left, chartHeight-h, width, h, width)
		}
		if c.Failed > 0 {
			f = max(f, 1.5) // one among thousands is to be seen
			fmt.Fprintf(&bad, "M%.1f %.1fh%.1fv%.1fh-%.1fz", left, chartHeight-h-f, width, f, width)
		}
	}
	return &chart{
		Title: v.messages.Text("dash.chart_requests"), Top: count(uint64(scale)), Width: chartWidth, Height: chartHeight, From: v.at(past[0].Start),
		Label:  v.messages.Text("dash.chart_requests_label", "ok", ok, "failed", failed, "top", count(uint64(scale))),
		Shapes: []run{{"b-ok", good.String()}, {"b-bad", bad.String()}},
		Legend: []run{{"b-ok", v.messages.Text("dash.answered")}, {"b-bad", v.messages.Text("dash.failed")}},
	}
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
