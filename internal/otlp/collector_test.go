package otlp

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/traffic"
)

// The messages as opentelemetry-proto v1.3.2 has them, for a collector that knows no
// other field. They are not those of the code.
type (
	gotExport struct {
		ResourceSpans []struct {
			Resource struct {
				Attributes             []gotAttribute `json:"attributes"`
				DroppedAttributesCount uint32         `json:"droppedAttributesCount"`
			} `json:"resource"`
			ScopeSpans []struct {
				Scope struct {
					Name       string         `json:"name"`
					Version    string         `json:"version"`
					Attributes []gotAttribute `json:"attributes"`
				} `json:"scope"`
				Spans     []gotSpan `json:"spans"`
				SchemaURL string    `json:"schemaUrl"`
			} `json:"scopeSpans"`
			SchemaURL string `json:"schemaUrl"`
		} `json:"resourceSpans"`
	}
	gotSpan struct {
		TraceID           hexID          `json:"traceId"`
		SpanID            hexID          `json:"spanId"`
		TraceState        string         `json:"traceState"`
		ParentSpanID      hexID          `json:"parentSpanId"`
		Flags             uint32         `json:"flags"`
		Name              string         `json:"name"`
		Kind              int            `json:"kind"`
		StartTimeUnixNano int64str       `json:"startTimeUnixNano"`
		EndTimeUnixNano   int64str       `json:"endTimeUnixNano"`
		Attributes        []gotAttribute `json:"attributes"`
		Events            []struct {
			TimeUnixNano int64str       `json:"timeUnixNano"`
			Name         string         `json:"name"`
			Attributes   []gotAttribute `json:"attributes"`
		} `json:"events"`
		Status struct {
			Message string `json:"message"`
			Code    int    `json:"code"`
		} `json:"status"`
	}
	gotAttribute struct {
		Key   string   `json:"key"`
		Value gotValue `json:"value"`
	}
	gotValue struct {
		StringValue *string   `json:"stringValue"`
		BoolValue   *bool     `json:"boolValue"`
		IntValue    *int64str `json:"intValue"`
		ArrayValue  *struct {
			Values []gotValue `json:"values"`
		} `json:"arrayValue"`
	}
	hexID    string
	int64str int64
)

// UnmarshalJSON takes an ID of 8 or 16 bytes in hexadecimal.
func (id *hexID) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != 8 && len(raw) != 16 || isZero(s) {
		return fmt.Errorf("%q is no ID", s)
	}
	*id = hexID(s)
	return nil
}

// UnmarshalJSON takes a 64-bit number, which JSON has as a string.
func (n *int64str) UnmarshalJSON(b []byte) error {
	s, err := strconv.Unquote(string(b))
	if err != nil {
		return fmt.Errorf("%s is no string", b)
	}
	i, err := strconv.ParseInt(s, 10, 64)
	*n = int64str(i)
	return err
}

// text is an attribute's value as people write it.
func (v gotValue) text() string {
	switch {
	case v.StringValue != nil:
		return *v.StringValue
	case v.BoolValue != nil:
		return strconv.FormatBool(*v.BoolValue)
	case v.IntValue != nil:
		return strconv.FormatInt(int64(*v.IntValue), 10)
	case v.ArrayValue != nil:
		s := "["
		for _, e := range v.ArrayValue.Values {
			s += e.text()
		}
		return s + "]"
	}
	return "nothing"
}

func texts(list []gotAttribute) map[string]string {
	out := map[string]string{}
	for _, a := range list {
		if _, twice := out[a.Key]; twice {
			out[a.Key] = "twice"
			continue
		}
		out[a.Key] = a.Value.text()
	}
	return out
}

// A collector takes batches, and is strict. It is a server and, in a bubble without
// sockets, a RoundTripper.
type collector struct {
	t      testing.TB
	mu     sync.Mutex
	got    []*http.Request
	all    []gotExport
	answer func(n int) (status int, header http.Header, body string) // to the nth request; nil: 200
	down   bool                                                      // nothing answers
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, header, body := c.take(r)
	for name, values := range header {
		w.Header()[name] = values
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func (c *collector) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	down := c.down
	c.mu.Unlock()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if down {
		return nil, errors.New("dial tcp 127.0.0.1:4318: connect: connection refused")
	}
	status, header, body := c.take(r)
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(bytes.NewReader([]byte(body))), Request: r}, nil
}

func (c *collector) take(r *http.Request) (int, http.Header, string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Error(err)
	}
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		c.t.Errorf("%s with %q", r.Method, r.Header.Get("Content-Type"))
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	var e gotExport
	if err := dec.Decode(&e); err != nil {
		c.t.Errorf("no collector reads this: %v\n%s", err, body)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got, c.all = append(c.got, r), append(c.all, e)
	if c.answer != nil {
		return c.answer(len(c.got))
	}
	return 200, http.Header{"Content-Type": {"application/json"}}, "{}"
}

func (c *collector) set(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

// spans are all that came so far.
func (c *collector) spans() []gotSpan {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []gotSpan
	for _, e := range c.all {
		for _, r := range e.ResourceSpans {
			for _, s := range r.ScopeSpans {
				out = append(out, s.Spans...)
			}
		}
	}
	return out
}

// posts is how many batches came.
func (c *collector) posts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.got)
}

// start is when the request of the tests came.
var start = time.Date(2026, 11, 30, 12, 0, 0, 5000, time.UTC)

// record puts a request into a journal as the front does.
func record(j *traffic.Journal, id uint64, parent string, o traffic.Outcome) {
	f := &traffic.Flight{ID: id, At: start, Addr: netip.MustParseAddr("192.0.2.7"), Family: "docker", Form: "mirror",
		Request: &pullchain.Request{Op: pullchain.Manifest, Registry: "docker.io", Repo: "library/alpine", Tag: "3.20"}}
	j.Begin(f)
	o.Method, o.UserAgent, o.Took = "GET", "docker/29.0.0", 250*time.Millisecond
	if j.Traceparents.Load() {
		o.Traceparent = parent
	}
	j.End(f, &o)
}
