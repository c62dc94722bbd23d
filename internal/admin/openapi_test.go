package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/golden"
	"github.com/pullchain/pullchain/internal/history"
	"github.com/pullchain/pullchain/internal/warm"
)

// The document that is served is made of the table of routes and of the Go types:
// -update writes it.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	s := newSchemas(t)
	paths := object{}
	for _, r := range admin.RouteDocs() {
		if paths[r.Path] == nil {
			paths[r.Path] = object{}
		}
		paths[r.Path].(object)[strings.ToLower(r.Method)] = operation(s, r)
	}
	s.of(reflect.TypeFor[admin.CacheVerified]()) // the lines of answers that are lines
	doc := object{
		"openapi": "3.1.0",
		"info": object{
			"title": "pullchain, the operator's plane", "version": fmt.Sprint(admin.Schema),
			"description": "Times are RFC 3339, durations say their unit in their name (_ms, _s). All fields are always present; one without a value is null or empty. " +
				"Fields may be added without a new schema number; none changes its meaning or goes. Errors are application/problem+json with a code for programs.",
			"license": object{"name": "see the repository"},
		},
		"servers":  []any{object{"url": "http://127.0.0.1:5152", "description": "[admin] listen"}},
		"security": []any{object{}, object{"bearer": []any{}}, object{"session": []any{}}},
		"paths":    paths,
		"components": object{"schemas": s.found, "securitySchemes": object{
			"bearer":  object{"type": "http", "scheme": "bearer", "description": "What [admin] token_file holds; nothing is asked for without that."},
			"session": object{"type": "apiKey", "in": "cookie", "name": "pullchain_session", "description": "What POST /login gives a browser."},
		}},
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(doc); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "openapi.json", text.String())
}

// operation is what the document says of a route.
func operation(s *schemas, r admin.RouteDoc) object {
	ok := object{"description": "Done."}
	switch {
	case r.Answer != nil:
		ok["content"] = object{"application/json": object{"schema": s.of(reflect.TypeOf(r.Answer))}}
	case r.Media == "text/event-stream":
		lines := s.of(reflect.TypeFor[admin.StreamEvent]())
		s.of(reflect.TypeFor[admin.StreamStart]())
		s.of(reflect.TypeFor[admin.Verdict]())
		s.of(reflect.TypeFor[admin.PullsChanged]())
		s.of(reflect.TypeFor[balancer.Event]())
		ok["content"] = object{r.Media: object{}, "application/x-ndjson": object{"schema": lines}}
	default:
		ok["content"] = object{r.Media: object{}}
	}
	status := "200"
	if r.Form {
		status, ok = "303", object{"description": "Done: on to the next page."}
	}
	o := object{
		"operationId": r.ID, "summary": r.About,
		"responses": object{status: ok, "default": problemOf(s, codesOf(r))},
	}
	if r.Public {
		o["security"] = []any{object{}}
	}
	if params := paramsOf(r); len(params) > 0 {
		o["parameters"] = params
	}
	if r.Body != nil {
		media := "application/json"
		if r.Form {
			media = "application/x-www-form-urlencoded"
		}
		o["requestBody"] = object{"required": true, "content": object{media: object{"schema": s.of(reflect.TypeOf(r.Body))}}}
	}
	return o
}

func paramsOf(r admin.RouteDoc) []any {
	var params []any
	for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(r.Path, -1) {
		params = append(params, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, q := range r.Query {
		params = append(params, object{"name": q[0], "in": "query", "description": q[2], "schema": object{"type": q[1]}})
	}
	return params
}

// codesOf are the codes of the errors of a route: those that the table has, and those
// of every route.
func codesOf(r admin.RouteDoc) []string {
	codes := append(slices.Clone(r.Problems), "method_not_allowed", "unknown_host", "internal")
	if !r.Public {
		codes = append(codes, "unauthorized")
	}
	if r.Method == http.MethodPost {
		codes = append(codes, "cross_origin")
		if !r.Form {
			codes = append(codes, "not_json")
		}
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

func problemOf(s *schemas, codes []string) object {
	var list []any
	for _, code := range codes {
		list = append(list, code)
	}
	return object{"description": "An error.", "content": object{"application/problem+json": object{"schema": object{
		"allOf": []any{s.of(reflect.TypeFor[admin.Problem]()), object{"properties": object{"code": object{"enum": list}}}},
	}}}}
}

// parsed is the document as it is served.
func parsed(t *testing.T) object {
	t.Helper()
	w := ask(admin.Config{}, snapshot(), "GET", "/api/v1/openapi.json")
	var doc object
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || w.Code != 200 {
		t.Fatalf("%d %v", w.Code, err)
	}
	return doc
}

// operationOf is what doc says of a route.
func operationOf(t *testing.T, doc object, r admin.RouteDoc) object {
	t.Helper()
	o, ok := doc["paths"].(object)[r.Path].(object)[strings.ToLower(r.Method)].(object)
	if !ok {
		t.Fatalf("%s %s is not documented: go test ./internal/admin -run TestOpenAPI -update", r.Method, r.Path)
	}
	return o
}

// Every documented operation is one of the handler, and each has a name of its own.
func TestOpenAPIHasTheRoutes(t *testing.T) {
	t.Parallel()
	doc := parsed(t)
	documented, names := 0, map[string]bool{}
	for _, item := range doc["paths"].(object) {
		documented += len(item.(object))
	}
	for _, r := range admin.RouteDocs() {
		o := operationOf(t, doc, r)
		if names[r.ID] || r.ID == "" || r.About == "" || o["operationId"] != r.ID {
			t.Errorf("%s %s: the operation %q, %q", r.Method, r.Path, r.ID, r.About)
		}
		names[r.ID] = true
		if (r.Answer == nil) == (r.Media == "") {
			t.Errorf("%s answers with JSON or with something else", r.ID)
		}
	}
	if documented != len(names) {
		t.Errorf("%d operations are documented, the handler has %d", documented, len(names))
	}
}

// fakeExplainer explains one image.
type fakeExplainer struct{ err error }

func (f fakeExplainer) Explain(_ context.Context, image string) (admin.Explanation, error) {
	if image == "" {
		return admin.Explanation{}, admin.ErrNoImage
	}
	return admin.Explanation{
		Image: image, Name: "docker.io/library/" + image, Registry: "docker.io", Served: true,
		Candidates: []admin.Candidate{{Candidate: balancer.Candidate{Upstream: "hub", Turn: 1}, State: "serving"}},
		Cache:      &cache.Holding{Confirmed: in(0)}, Forms: []admin.ClientForm{{Form: "ns", Path: "/v2/", Pull: image}},
	}, nil
}

func (f fakeExplainer) Digests(context.Context, string) ([]admin.UpstreamDigest, error) {
	return []admin.UpstreamDigest{{Upstream: "a", Digest: "sha256:1"}, {Upstream: "b", Digest: "sha256:2"}}, f.err
}

// rich is a plane that has everything.
func rich() admin.Sources {
	rings := history.New()
	rings.Observe(now, []history.Observation{{Registry: "docker.io", Upstream: "docker-hub", State: "cooling", Failed: 3}})
	events := newEvents()
	events.add(balancer.KindTransition, "docker.io")
	events.events[0].Failover = &balancer.Failover{Registry: "docker.io", From: "hub", To: "b"}
	return admin.Sources{
		Snapshot: snapshot, Cache: &fakeCache{entries: []cache.Entry{{Images: []string{"a"}}}}, Operator: &fakeOperator{},
		Demo: &fakeDemo{fault: admin.NoFault}, Events: events, History: rings, Traffic: used(), Warm: warm.NewScheduler(warm.Options{}), Explainer: fakeExplainer{},
		Config: func() admin.ConfigDocument {
			return admin.ConfigDocument{Settings: []admin.Setting{{Key: "a", Value: "1", Origin: "default"}}, Warnings: []string{"x"}}
		},
	}
}

// Every answer is as the document has it.
func TestOpenAPIHoldsTheAnswers(t *testing.T) {
	t.Parallel()
	doc := parsed(t)
	v := validator{doc["components"].(object)["schemas"].(object)}
	plane := rich()
	active, _ := plane.Traffic.Pulls()
	pull := active[0].ID // it has the time of the start in it
	replace := strings.NewReplacer("{registry}", "docker.io", "{upstream}", "docker-hub", "{profile}", "heap", "/pulls/{id}", "/pulls/"+pull, "{id}", "10")
	queries := map[string]string{"explain": "?image=alpine&digests=1", "events": "?follow=false&format=ndjson&since=0"}
	for _, r := range admin.RouteDocs() {
		if r.Method != http.MethodGet {
			continue
		}
		o := operationOf(t, doc, r)
		w := askRich(plane, http.MethodGet, replace.Replace(r.Path)+queries[r.ID], "")
		if r.Answer == nil {
			continue // no JSON; other tests read it
		}
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %.300s", r.Path, w.Code, w.Body)
			continue
		}
		schema := o["responses"].(object)["200"].(object)["content"].(object)["application/json"].(object)["schema"].(object)
		var got any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		for _, fault := range v.check(schema, got, r.ID) {
			t.Error(fault)
		}
	}
}

// Every line of the stream is as the document has it.
func TestOpenAPIHoldsTheStream(t *testing.T) {
	t.Parallel()
	doc := parsed(t)
	components := doc["components"].(object)["schemas"].(object)
	v := validator{components}
	w := askRich(rich(), http.MethodGet, "/api/v1/events?follow=false&format=ndjson&since=0", "")
	data := map[string]string{"hello": "StreamStart", "transition": "BalancerEvent", "verdict": "Verdict", "pulls": "PullsChanged"}
	for line := range strings.Lines(w.Body.String()) {
		var got object
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		event, _ := got["event"].(string)
		faults := v.check(object{"$ref": "#/components/schemas/StreamEvent"}, got, "line")
		faults = append(faults, v.check(object{"$ref": "#/components/schemas/" + data[event]}, got["data"], event)...)
		for _, fault := range faults {
			t.Error(fault)
		}
		delete(data, event)
	}
	delete(data, "pulls") // which may come after the end
	if len(data) > 0 {
		t.Errorf("not in the stream: %v", slices.Collect(maps.Keys(data)))
	}
}

// askRich sends a request, as JSON if it has a body, to a plane with those sources.
func askRich(from admin.Sources, method, target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:5152"
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	admin.New(admin.Config{}, from).ServeHTTP(w, r)
	return w
}

// Whatever an action refuses, it refuses with a code that the document has for it.
func TestOpenAPIHasTheProblems(t *testing.T) {
	t.Parallel()
	replace := strings.NewReplacer("{registry}", "nope.io", "{upstream}", "none", "{kind}", "drain", "{profile}", "nope")
	bodies := []string{"", "{", "[]", "{}", `{"x":1}`, `{"what":"x"}`, `{"registry":"nope.io","upstream":"x"}`, `{"upstream":"x","fault":"y"}`, `{"ttl_s":-1}`}
	for _, r := range admin.RouteDocs() {
		allowed := codesOf(r)
		for _, from := range []admin.Sources{rich(), {Snapshot: snapshot}} {
			for _, body := range bodies {
				w := askRich(from, r.Method, replace.Replace(r.Path)+"?limit=x&since=x&window=x&registry=nope.io&digests=x&topics=x", body)
				if w.Code < 400 {
					continue
				}
				var p admin.Problem
				if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
					if r.ID == "readyz" || r.Form || strings.HasPrefix(r.ID, "pprof") {
						continue // text, or a page
					}
					t.Errorf("%s: %d %.100s", r.ID, w.Code, w.Body)
				} else if !slices.Contains(allowed, p.Code) || p.Status != w.Code {
					t.Errorf("%s %s with %s: %d and the code %q, which is not documented", r.Method, r.Path, body, w.Code, p.Code)
				}
			}
		}
	}
}
