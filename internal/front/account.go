package front

import (
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/traffic"
	"github.com/pullchain/pullchain/internal/wire"
)

// begin tells the journal of a request for content.
func (x *exchange) begin() {
	x.flight.Form, x.flight.Request = string(x.form), &x.req
	x.h.journal.Begin(x.flight)
}

// answered tells the journal where the content comes from that is about to be sent.
func (x *exchange) answered() {
	if x.req.Op == pullchain.Blob {
		x.h.journal.Answered(x.flight, x.resp.Cache, x.server(x.resp.Attempts))
	}
}

// account tells the journal how the request ended.
func (x *exchange) account(status int, took time.Duration, trace []pullchain.Attempt) {
	x.flight.Form = string(x.form)
	o := traffic.Outcome{
		Method: x.r.Method, UserAgent: x.agent, Ping: x.pinged,
		Status: status, Bytes: x.rec.bytes, TTFB: x.rec.ttfb, Took: took,
		Cache: x.resp.Cache, Upstream: x.server(trace), Attempts: attemptsOf(trace, x.flight.At),
		Failed: x.failed(status), Gone: x.gone,
	}
	if !x.req.Range.Whole() || x.parts != nil {
		o.Range = x.rangeText()
	}
	if x.h.journal.Traceparents.Load() {
		o.Traceparent = traceparent(x.r.Header)
	}
	if x.err != nil {
		o.Code, o.Error = pullchain.CodeOf(x.err), wire.Clip(x.err.Error())
	} else {
		o.Response = &x.resp
	}
	x.h.journal.End(x.flight, &o)
}

// header is the first header of a name in its canonical spelling, without the search for
// that: it takes 330 instructions.
func header(h http.Header, canonical string) string {
	if values := h[canonical]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// traceparent is the client's word of the span that its request belongs to; empty if there
// is none, or more than one (W3C Trace Context, 3.2).
func traceparent(h http.Header) string {
	if values := h["Traceparent"]; len(values) == 1 {
		return values[0]
	}
	return ""
}

// failed reports whether the client did not get what it asked for, though it waited. A
// range beyond the end is how a client finds out that it has everything, and that
// content has no referrers is for the registry to say.
func (x *exchange) failed(status int) bool {
	switch {
	case x.gone, status == http.StatusRequestedRangeNotSatisfiable:
		return false
	case status == http.StatusNotFound && x.req.Op == pullchain.Referrers:
		return false
	}
	return x.err != nil || status >= http.StatusBadRequest
}

// attemptsOf puts a trace into the journal's terms.
func attemptsOf(trace []pullchain.Attempt, start time.Time) []traffic.Attempt {
	if len(trace) == 0 {
		return nil
	}
	out := make([]traffic.Attempt, 0, len(trace))
	for _, a := range trace {
		t := traffic.Attempt{
			Upstream: a.Upstream,
			Outcome:  outcomeOf(a),
			Word:     wordOf(a),
			Code:     string(pullchain.CodeOf(a.Err)),
			MS:       millis(a.Took),
			Offset:   a.Offset,
			Gate:     a.Gate,
			RetryS:   int64(math.Ceil(waitOf(a).Seconds())),
			Hedge:    a.Hedge,
			Cut:      a.Err != nil && a.Gate == "" && a.Took == 0 && !a.Start.IsZero(), // as the balancer notes it
			Trouble:  isTrouble(a),
		}
		if !a.Start.IsZero() { // what was being fetched for another began before
			t.AtMS = max(0, millis(a.Start.Sub(start)))
		}
		if e, ok := errors.AsType[*pullchain.Error](a.Err); ok {
			t.Status = e.Status
		}
		if a.Err != nil {
			t.Text = wire.Clip(a.Err.Error())
		}
		out = append(out, t)
	}
	return out
}

// millis is a duration in milliseconds, to the microsecond.
func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
