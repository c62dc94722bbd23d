package otlp

import (
	"cmp"
	"strconv"
	"time"

	"github.com/pullchain/pullchain/internal/traffic"
)

// The messages of opentelemetry/proto/trace/v1 that are sent, in their JSON form: IDs in
// hexadecimal, 64-bit numbers as strings, enumerations as numbers (OTLP, "JSON Protobuf
// Encoding").
type (
	export struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   resource     `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	resource struct {
		Attributes []attribute `json:"attributes"`
	}
	scopeSpans struct {
		Scope scope  `json:"scope"`
		Spans []span `json:"spans"`
	}
	scope struct {
		Name    string `json:"name"`
		Version string `json:"version,omitempty"`
	}
	span struct {
		TraceID      string      `json:"traceId"`
		SpanID       string      `json:"spanId"`
		ParentSpanID string      `json:"parentSpanId,omitempty"`
		Flags        uint32      `json:"flags,omitempty"`
		Name         string      `json:"name"`
		Kind         int         `json:"kind"`
		Start        int64       `json:"startTimeUnixNano,string"`
		End          int64       `json:"endTimeUnixNano,string"`
		Attributes   []attribute `json:"attributes,omitempty"`
		Events       []event     `json:"events,omitempty"`
		Status       *status     `json:"status,omitempty"`
	}
	event struct {
		Time       int64       `json:"timeUnixNano,string"`
		Name       string      `json:"name"`
		Attributes []attribute `json:"attributes,omitempty"`
	}
	status struct {
		Message string `json:"message,omitempty"`
		Code    int    `json:"code"`
	}
	attribute struct {
		Key   string `json:"key"`
		Value value  `json:"value"`
	}
	// A value has one of its fields.
	value struct {
		String *string `json:"stringValue,omitempty"`
		Bool   *bool   `json:"boolValue,omitempty"`
		Int    *int64  `json:"intValue,string,omitempty"`
		Array  *array  `json:"arrayValue,omitempty"`
	}
	array struct {
		Values []value `json:"values"`
	}
)

// Numbers of enumerations and flags.
const (
	kindServer = 2
	kindClient = 3

	statusError = 2

	flagSampled        = 1 << 0
	flagKnownRemote    = 1 << 8 // whether the parent is remote is known
	flagParentIsRemote = 1 << 9
)

// attributes collects those that say something.
type attributes []attribute

func (a *attributes) text(key, s string) {
	if s != "" {
		*a = append(*a, attribute{key, value{String: &s}})
	}
}

func (a *attributes) number(key string, n int64) { *a = append(*a, attribute{key, value{Int: &n}}) }

// count is number where 0 says nothing.
func (a *attributes) count(key string, n int64) {
	if n != 0 {
		a.number(key, n)
	}
}

func (a *attributes) flag(key string, set bool) {
	if set {
		*a = append(*a, attribute{key, value{Bool: &set}})
	}
}

// spansOf makes the spans of a request: its own, and one for each attempt at an upstream.
// What kept a lane from being asked, and what cut a body that had begun, are moments
// and no calls: events of the request's span.
func spansOf(r *traffic.Request, from parent) []span {
	server := span{
		TraceID: cmp.Or(from.trace, newID(32)), SpanID: newID(16), ParentSpanID: from.span, Flags: flagSampled | flagKnownRemote,
		Name: nameOf(r), Kind: kindServer,
		Start: r.At.UnixNano(), End: r.At.Add(millis(r.TookMS)).UnixNano(),
		Attributes: requestAttributes(r), Status: requestStatus(r),
	}
	if from.span != "" {
		server.Flags |= flagParentIsRemote
	}
	out := []span{server}
	for i := range r.Attempts {
		a := &r.Attempts[i]
		began := r.At.Add(millis(a.AtMS)).UnixNano()
		switch {
		case a.Gate != "":
			out[0].Events = append(out[0].Events, event{Time: began, Name: "pullchain.not_asked", Attributes: attemptAttributes(a)})
		case a.Cut:
			out[0].Events = append(out[0].Events, event{Time: began, Name: "pullchain.cut", Attributes: attemptAttributes(a)})
		default:
			out = append(out, span{
				TraceID: server.TraceID, SpanID: newID(16), ParentSpanID: server.SpanID, Flags: flagSampled | flagKnownRemote,
				Name: "attempt " + a.Upstream, Kind: kindClient,
				Start: began, End: began + millis(a.MS).Nanoseconds(),
				Attributes: attemptAttributes(a), Status: attemptStatus(a),
			})
		}
	}
	return out
}

// millis is what the journal has in milliseconds.
func millis(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// routes are the templates of the paths that a registry has, which name a span: names are
// to be few.
var routes = map[string]string{
	"manifest":  "/v2/{name}/manifests/{reference}",
	"blob":      "/v2/{name}/blobs/{digest}",
	"tags":      "/v2/{name}/tags/list",
	"referrers": "/v2/{name}/referrers/{digest}",
	"ping":      "/v2/",
}

// nameOf is the name of a request's span ("Semantic conventions for HTTP spans", Name).
func nameOf(r *traffic.Request) string {
	method := cmp.Or(r.Method, "HTTP")
	if method == "other" {
		method = "HTTP"
	}
	if route := routes[r.Kind]; route != "" {
		return method + " " + route
	}
	return method
}

// requestAttributes says what was asked for and what came of it.
func requestAttributes(r *traffic.Request) []attribute {
	var a attributes
	if r.Method == "other" {
		a.text("http.request.method", "_OTHER")
	} else {
		a.text("http.request.method", r.Method)
	}
	a.text("http.route", routes[r.Kind])
	a.count("http.response.status_code", int64(r.Status))
	a.number("http.response.body.size", r.Bytes)
	a.text("client.address", r.Addr)
	a.text("user_agent.original", r.UserAgent)
	if r.Failed || r.Gone {
		a.text("error.type", cmp.Or(r.Code, strconv.Itoa(r.Status)))
	}
	a.image(r)
	a.text("pullchain.request.id", r.ID)
	a.text("pullchain.pull.id", r.Pull)
	a.text("pullchain.client", r.Client)
	a.text("pullchain.form", r.Form)
	a.text("pullchain.kind", r.Kind)
	a.text("pullchain.registry", r.Registry)
	a.text("pullchain.cache", r.Cache)
	a.text("pullchain.upstream", r.Upstream)
	a.text("pullchain.range", r.Range)
	a.text("pullchain.code", r.Code)
	a.flag("pullchain.degraded", r.Degraded)
	a.flag("pullchain.client_gone", r.Gone)
	a.count("pullchain.resumes", int64(r.Resumes))
	ttfb := millis(r.TTFBMS).Microseconds()
	a.count("pullchain.ttfb_us", ttfb)
	return a
}

// image names what was asked for as people do, by a tag or by a digest.
func (a *attributes) image(r *traffic.Request) {
	if r.Repo == "" {
		return
	}
	a.text("container.image.name", r.Registry+"/"+r.Repo)
	switch {
	case r.Reference == "":
	case r.IsDigest() && r.Kind == "manifest":
		a.text("oci.manifest.digest", r.Reference)
	case r.IsDigest():
		a.text("pullchain.digest", r.Reference)
	default:
		tag := r.Reference
		*a = append(*a, attribute{"container.image.tags", value{Array: &array{[]value{{String: &tag}}}}})
	}
}

// attemptAttributes says how one attempt went.
func attemptAttributes(t *traffic.Attempt) []attribute {
	var a attributes
	a.text("pullchain.upstream", t.Upstream)
	a.text("pullchain.outcome", t.Outcome)
	a.text("pullchain.code", t.Code)
	a.count("http.response.status_code", int64(t.Status))
	if t.Gate == "" && t.Outcome != "ok" {
		a.text("error.type", cmp.Or(t.Code, t.Outcome))
	}
	a.count("pullchain.offset", t.Offset)
	a.text("pullchain.gate", t.Gate)
	a.count("pullchain.retry_after_s", t.RetryS)
	a.flag("pullchain.hedge", t.Hedge)
	return a
}

// requestStatus is an error where we are to blame, or those behind us: what a client did
// wrong is none of a server's span ("Semantic conventions for HTTP spans", Status).
func requestStatus(r *traffic.Request) *status {
	if !r.Failed || r.Status >= 400 && r.Status < 500 {
		return nil
	}
	return &status{Message: r.Error, Code: statusError}
}

// attemptStatus is an error where something was wrong: not so a mirror that lacks the
// image, or the loser of a race.
func attemptStatus(a *traffic.Attempt) *status {
	if !a.Trouble {
		return nil
	}
	return &status{Message: a.Text, Code: statusError}
}
