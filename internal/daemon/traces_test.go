package daemon_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// A tracer is a collector of traces that keeps spans by their names.
type tracer struct {
	*httptest.Server
	mu    sync.Mutex
	spans []tracedSpan
}

// A tracedSpan is what the test wants of a span.
type tracedSpan struct {
	TraceID, SpanID, ParentSpanID, Name string
	Attributes                          []struct {
		Key   string
		Value struct{ StringValue, IntValue string }
	}
}

func (s *tracedSpan) attribute(key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.StringValue + a.Value.IntValue
		}
	}
	return ""
}

func newTracer(t *testing.T) *tracer {
	t.Helper()
	c := &tracer{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body struct {
			ResourceSpans []struct {
				ScopeSpans []struct{ Spans []tracedSpan }
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Errorf("a batch that is no JSON: %v", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, of := range body.ResourceSpans {
			for _, in := range of.ScopeSpans {
				c.spans = append(c.spans, in.Spans...)
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// of returns the spans of a trace.
func (c *tracer) of(trace string) []tracedSpan {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []tracedSpan
	for _, s := range c.spans {
		if s.TraceID == trace {
			out = append(out, s)
		}
	}
	return out
}

// A pull that takes a detour is one trace with its client's: a span of ours and one for
// each attempt, with the ID that the error log and `why` have.
func TestTraces(t *testing.T) {
	t.Parallel()
	const trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	collector := newTracer(t)
	p := newPair(t, func(c *rigConfig) {
		c.Top = fmt.Sprintf("[traces]\nendpoint = %q\n", collector.URL)
	})
	p.probed("a", "b")
	p.eventually("requests are traced", func() bool {
		p.get("/v2/", "Traceparent", "00-"+strings.Repeat("1", 32)+"-"+parent+"-01")
		return len(collector.of(strings.Repeat("1", 32))) > 0
	})
	p.a.Break(simnet.ConnRefused)
	p.get(p.image.Path(), "Traceparent", "00-"+trace+"-"+parent+"-01")
	p.eventually("the trace came", func() bool { return len(collector.of(trace)) > 0 })
	spans := collector.of(trace)
	root := spans[0]
	var attempts []string
	for _, s := range spans[1:] {
		if s.ParentSpanID != root.SpanID {
			t.Errorf("%+v", s)
		}
		attempts = append(attempts, s.Name+" "+s.attribute("pullchain.outcome"))
	}
	if root.ParentSpanID != parent || strings.Join(attempts, ", ") != "attempt a unavailable, attempt b ok" || root.attribute("http.response.status_code") != "200" {
		t.Errorf("%+v, %q", root, attempts)
	}
	if id := root.attribute("pullchain.request.id"); id == "" || !strings.Contains(p.log.String(), id) {
		t.Errorf("the log has no request %q", id)
	}
	if s := p.Daemon.Snapshot(); s.Traces == nil || s.Traces.Endpoint != collector.URL {
		t.Errorf("%+v", s.Traces)
	}
}
