package otlp

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/guard"
	"github.com/pullchain/pullchain/internal/traffic"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
)

// detour is a request that two lanes and a gate took part in, and that was cut once.
func detour() traffic.Outcome {
	return traffic.Outcome{
		Status: 200, Bytes: 7000, TTFB: 40 * time.Millisecond, Cache: pullchain.CacheMiss, Upstream: "worker",
		Attempts: []traffic.Attempt{
			{Upstream: "spare", Outcome: "not asked", Word: "drained", Gate: "drained", Trouble: true},
			{Upstream: "hub", Outcome: "rate_limited", Word: "http_429_quota", Code: "http_429_quota", Status: 429, Text: "toomanyrequests", AtMS: 1, MS: 12.5, RetryS: 900, Trouble: true},
			{Upstream: "worker", Outcome: "ok", Word: "ok", AtMS: 14, MS: 20, Hedge: true},
			{Upstream: "worker", Outcome: "truncated", Word: "truncated", Code: "truncated", AtMS: 50, Offset: 4096, Cut: true, Trouble: true},
			{Upstream: "worker", Outcome: "ok", Word: "ok", AtMS: 51, MS: 3, Offset: 4096},
		},
	}
}

// run runs an Exporter until the test ends.
func run(t *testing.T, e *Exporter, j *traffic.Journal) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		e.Run(ctx, j)
	}()
	stop = func() {
		cancel()
		<-over
	}
	t.Cleanup(stop)
	return stop
}

// client is a Client of c, over no network if c is no server.
func client(t *testing.T, c *collector, cfg Config) *Client {
	t.Helper()
	if cfg.Endpoint == "" {
		cfg.Endpoint = "http://127.0.0.1:4318"
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	cl, err := NewClient(Collector{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	if c != nil {
		cl.http.Transport = c
	}
	return cl
}

// What a collector gets over the wire, field by field.
func TestExport(t *testing.T) {
	t.Parallel()
	c := &collector{t: t}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	cl := client(t, nil, Config{
		Endpoint: server.URL + "/otlp/", Token: "sesame-1", Service: "mirror-hall-2",
		Headers: map[string]pullchain.Secret{"X-Tenant": "team"},
	})
	e, j := New(Resource{Version: "1.2.3", Host: "box"}, nil, nil), traffic.New()
	e.Use(cl)
	record(j, 5, "", traffic.Outcome{Status: 200}) // before there was anything to export to
	stop := run(t, e, j)
	for !j.Traceparents.Load() {
		runtime.Gosched()
	}
	record(j, 46655, "00-"+traceID+"-"+spanID+"-01", detour())
	stop() // what is left goes out at the end

	if len(c.got) != 1 {
		t.Fatalf("%d posts", len(c.got))
	}
	if r := c.got[0]; r.URL.Path != "/otlp/v1/traces" || r.Header.Get("Authorization") != "Bearer sesame-1" || r.Header.Get("X-Tenant") != "team" {
		t.Errorf("posted to %s with %v", r.URL, r.Header)
	}
	of := texts(c.all[0].ResourceSpans[0].Resource.Attributes)
	if id := of["service.instance.id"]; len(id) != 36 || id[14] != '4' {
		t.Errorf("instance %q", id)
	}
	delete(of, "service.instance.id")
	if d := cmp.Diff(map[string]string{"service.name": "mirror-hall-2", "service.version": "1.2.3", "host.name": "box"}, of); d != "" {
		t.Error(d)
	}
	spans := c.spans()
	if len(spans) != 4 {
		t.Fatalf("%d spans: %+v", len(spans), spans)
	}
	root := spans[0]
	if root.TraceID != traceID || root.ParentSpanID != spanID || root.Kind != 2 || root.Flags != 0x301 || root.Status.Code != 0 ||
		root.Name != "GET /v2/{name}/manifests/{reference}" {
		t.Errorf("%+v", root)
	}
	if root.StartTimeUnixNano != int64str(start.UnixNano()) || root.EndTimeUnixNano != int64str(start.Add(250*time.Millisecond).UnixNano()) {
		t.Errorf("from %d to %d", root.StartTimeUnixNano, root.EndTimeUnixNano)
	}
	want := map[string]string{
		"http.request.method": "GET", "http.route": "/v2/{name}/manifests/{reference}", "http.response.status_code": "200", "http.response.body.size": "7000",
		"client.address": "192.0.2.7", "user_agent.original": "docker/29.0.0", "container.image.name": "docker.io/library/alpine", "container.image.tags": "[3.20]",
		"pullchain.request.id": "zzz", "pullchain.client": "docker", "pullchain.form": "mirror", "pullchain.kind": "manifest", "pullchain.registry": "docker.io",
		"pullchain.cache": "miss", "pullchain.upstream": "worker", "pullchain.degraded": "true", "pullchain.resumes": "1", "pullchain.ttfb_us": "40000",
	}
	got := texts(root.Attributes)
	if got["pullchain.pull.id"] == "" {
		t.Error("no pull")
	}
	delete(got, "pullchain.pull.id")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if len(root.Events) != 2 || root.Events[0].Name != "pullchain.not_asked" || texts(root.Events[0].Attributes)["pullchain.gate"] != "drained" ||
		root.Events[1].Name != "pullchain.cut" || texts(root.Events[1].Attributes)["pullchain.offset"] != "4096" {
		t.Errorf("events %+v", root.Events)
	}
	hub, worker, again := spans[1], spans[2], spans[3]
	for _, s := range spans[1:] {
		if s.TraceID != traceID || s.ParentSpanID != root.SpanID || s.Kind != 3 || s.Flags != 0x101 {
			t.Errorf("%+v", s)
		}
	}
	if d := cmp.Diff(map[string]string{
		"pullchain.upstream": "hub", "pullchain.outcome": "rate_limited", "pullchain.code": "http_429_quota", "http.response.status_code": "429",
		"error.type": "http_429_quota", "pullchain.retry_after_s": "900",
	}, texts(hub.Attributes)); d != "" {
		t.Error(d)
	}
	if hub.Name != "attempt hub" || hub.Status.Code != 2 || hub.Status.Message != "toomanyrequests" ||
		hub.StartTimeUnixNano != int64str(start.Add(time.Millisecond).UnixNano()) || hub.EndTimeUnixNano-hub.StartTimeUnixNano != 12_500_000 {
		t.Errorf("%+v", hub)
	}
	if texts(worker.Attributes)["pullchain.hedge"] != "true" || worker.Status.Code != 0 || texts(again.Attributes)["pullchain.offset"] != "4096" {
		t.Errorf("%+v, %+v", worker, again)
	}
	if s := e.Snapshot(); s.Spans != 4 || s.Lost != 0 || s.LastSent == nil || s.Queued != 0 {
		t.Errorf("%+v", s)
	}
	if j.Traceparents.Load() {
		t.Error("the front still looks for the header")
	}
}

// Which requests are traced, and under which parent.
func TestParents(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, header string
		trace, span  string // empty: a new trace
		sent         bool
	}{
		{"none", "", "", "", true},
		{"recorded", "00-" + traceID + "-" + spanID + "-01", traceID, spanID, true},
		{"recorded, and another flag", "00-" + traceID + "-" + spanID + "-03", traceID, spanID, true},
		{"not recorded", "00-" + traceID + "-" + spanID + "-00", traceID, spanID, false},
		{"a later version", "cc-" + traceID + "-" + spanID + "-01", traceID, spanID, true},
		{"version ff", "ff-" + traceID + "-" + spanID + "-01", "", "", true},
		{"no trace", "00-" + strings.Repeat("0", 32) + "-" + spanID + "-01", "", "", true},
		{"no span", "00-" + traceID + "-" + strings.Repeat("0", 16) + "-01", "", "", true},
		{"capitals", "00-" + strings.ToUpper(traceID) + "-" + spanID + "-01", "", "", true},
		{"no hex", "00-" + strings.Repeat("g", 32) + "-" + spanID + "-01", "", "", true},
		{"short", "00-" + traceID + "-" + spanID, "", "", true},
		{"other marks", "00_" + traceID + "_" + spanID + "_01", "", "", true},
	} {
		p := parseParent(tt.header)
		if p.trace != tt.trace || p.span != tt.span {
			t.Errorf("%s: %+v", tt.name, p)
		}
		if sent := (Config{Sample: 1}).samples(p); sent != tt.sent {
			t.Errorf("%s: sent %v", tt.name, sent)
		}
	}
	sent := 0
	for range 10_000 {
		if (Config{Sample: 0.1}).samples(parent{}) {
			sent++
		}
	}
	if sent < 700 || sent > 1300 { // ten standard deviations
		t.Errorf("%d of 10000 at a share of 0.1", sent)
	}
}

// A collector that is down costs a bounded queue and one line of the log; when it is
// there again, it gets what is newest.
func TestCollectorDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &collector{t: t, down: true}
		log := &strings.Builder{}
		e, j := New(Resource{}, slog.New(slog.NewTextHandler(log, nil)), nil), traffic.New()
		e.Use(client(t, c, Config{}))
		stop := run(t, e, j)
		synctest.Wait()
		const requests = 3 * maxQueued
		for i := range requests {
			record(j, uint64(i), "", traffic.Outcome{Status: 200})
			if i%512 == 0 {
				time.Sleep(time.Second)
			}
		}
		time.Sleep(10 * time.Minute)
		s := e.Snapshot()
		if s.Queued > maxQueued || s.LastError == "" || s.Lost == 0 || s.LastSent != nil {
			t.Errorf("%+v", s)
		}
		c.set(false)
		record(j, 1<<40, "", traffic.Outcome{Status: 200})
		time.Sleep(10 * time.Minute)
		s = e.Snapshot()
		spans := c.spans()
		if s.Queued != 0 || s.LastError != "" || int(s.Spans)+int(s.Lost) != requests+1 || len(spans) != int(s.Spans) {
			t.Errorf("%+v, %d spans", s, len(spans))
		}
		if id := texts(spans[len(spans)-1].Attributes)["pullchain.request.id"]; id != "e13wu1og" {
			t.Errorf("the last one is %q", id)
		}
		stop()
		if n := strings.Count(log.String(), "are lost"); n != 1 {
			t.Errorf("said %d times that something is lost:\n%s", n, log)
		}
		if n := strings.Count(log.String(), "does not take"); n != 1 {
			t.Errorf("said %d times that the collector is down:\n%s", n, log)
		}
	})
}

// A mistake of ours costs the batch at which it is made, and no other.
func TestBatchThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &collector{t: t}
		g := guard.New(slog.New(slog.DiscardHandler))
		e, j := New(Resource{}, nil, g), traffic.New()
		cl := client(t, c, Config{})
		posts := 0
		cl.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			if posts++; posts == 1 {
				panic("no such span")
			}
			return c.RoundTrip(r)
		})
		e.Use(cl)
		run(t, e, j)
		synctest.Wait()
		for i := range 2 {
			record(j, uint64(i), "", traffic.Outcome{Status: 200})
			time.Sleep(time.Minute)
		}
		if s := e.Snapshot(); s.Lost != 1 || s.Spans != 1 || len(c.spans()) != 1 || g.Counts()[guard.Traces] != 1 {
			t.Errorf("%+v, %d spans came, panics %v", s, len(c.spans()), g.Counts())
		}
	})
}

// A roundTrip is a transport.
type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip calls f.
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What a collector answers, and what becomes of the batch.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const token = "hush-hush"
	for _, tt := range []struct {
		name   string
		answer func(n int) (int, http.Header, string)
		posts  int
		spans  uint64
		lost   uint64
		says   string
	}{
		{"taken", func(int) (int, http.Header, string) { return 200, nil, "{}" }, 1, 1, 0, ""},
		{"taken, and says no JSON", func(int) (int, http.Header, string) { return 202, nil, "ok" }, 1, 1, 0, ""},
		{"rejected", func(int) (int, http.Header, string) {
			return 200, nil, `{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}`
		}, 1, 0, 1, ""},
		{"a number", func(int) (int, http.Header, string) { return 200, nil, `{"partialSuccess":{"rejectedSpans":1}}` }, 1, 0, 1, ""},
		{"a warning", func(int) (int, http.Header, string) {
			return 200, nil, `{"partialSuccess":{"errorMessage":"use gzip"}}`
		}, 1, 1, 0, ""},
		{"busy, then taken", func(n int) (int, http.Header, string) {
			if n < 3 {
				return 503, http.Header{"Retry-After": {"7"}}, ""
			}
			return 200, nil, "{}"
		}, 3, 1, 0, ""},
		{"refused", func(int) (int, http.Header, string) { return 401, nil, "no such token: " + token }, 1, 0, 1, "HTTP 401 no such token: ***"},
		{"a bug of the collector's", func(int) (int, http.Header, string) { return 500, nil, "" }, 1, 0, 1, "HTTP 500"},
		{"a redirect", func(int) (int, http.Header, string) {
			return 307, http.Header{"Location": {"http://evil.example/"}}, ""
		}, 1, 0, 1, "HTTP 307: it redirects elsewhere, which is not followed: write the address that it leads to"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := &collector{t: t, answer: tt.answer}
				e, j := New(Resource{}, nil, nil), traffic.New()
				e.Use(client(t, c, Config{Token: token}))
				run(t, e, j)
				synctest.Wait()
				record(j, 7, "", traffic.Outcome{Status: 200})
				time.Sleep(time.Minute)
				s := e.Snapshot()
				if c.posts() != tt.posts || s.Spans != tt.spans || s.Lost != tt.lost || s.LastError != tt.says {
					t.Errorf("%d posts, %+v", c.posts(), s)
				}
			})
		})
	}
}

// Without a collector nothing reads the journal and the front looks for no header; a
// reload begins and ends it, and one that changes nothing lets a batch be.
func TestOffAndReloads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		one, two := &collector{t: t}, &collector{t: t}
		e, j := New(Resource{}, nil, nil), traffic.New()
		if c, err := NewClient(Collector{}); c != nil || err != nil {
			t.Fatal(c, err)
		}
		run(t, e, j)
		pull := func(id uint64) {
			synctest.Wait()
			record(j, id, "", traffic.Outcome{Status: 200})
			time.Sleep(time.Minute)
		}
		pull(1)
		if e.Snapshot() != nil || j.Traceparents.Load() {
			t.Error("it is on")
		}
		e.Use(client(t, one, Config{}))
		pull(2)
		e.Use(client(t, two, Config{})) // the same configuration
		pull(3)
		e.Use(client(t, two, Config{Service: "other"}))
		pull(4)
		e.Use(nil)
		pull(5)
		if len(one.spans()) != 2 || len(two.spans()) != 1 || e.Snapshot() != nil || j.Traceparents.Load() {
			t.Errorf("%d and %d spans", len(one.spans()), len(two.spans()))
		}
	})
}

// What requests look like that are no pulls, or that fail.
func TestSpansOfOddRequests(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		r    traffic.Request
		want string // name, status and error.type
	}{
		{"version check", traffic.Request{Kind: "ping", Method: "GET", Status: 200}, "GET /v2/ 0 "},
		{"nothing of a registry's", traffic.Request{Kind: "other", Method: "other", Status: 405, Failed: true}, "HTTP 0 405"},
		{"not found", traffic.Request{Kind: "blob", Method: "HEAD", Status: 404, Failed: true, Code: "not_found"}, "HEAD /v2/{name}/blobs/{digest} 0 not_found"},
		{"no path", traffic.Request{Kind: "tags", Method: "GET", Status: 503, Failed: true, Code: "tcp_refused"}, "GET /v2/{name}/tags/list 2 tcp_refused"},
		{"cut", traffic.Request{Kind: "referrers", Method: "GET", Status: 200, Failed: true}, "GET /v2/{name}/referrers/{digest} 2 200"},
		{"the client left", traffic.Request{Kind: "blob", Method: "GET", Status: 499, Gone: true}, "GET /v2/{name}/blobs/{digest} 0 499"},
	} {
		s := spansOf(&tt.r, parent{})[0]
		code := 0
		if s.Status != nil {
			code = s.Status.Code
		}
		errorType := ""
		for _, a := range s.Attributes {
			if a.Key == "error.type" {
				errorType = *a.Value.String
			}
		}
		if got := fmt.Sprintf("%s %d %s", s.Name, code, errorType); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// BenchmarkEncode is what a batch costs the exporter: nothing that a pull waits for.
func BenchmarkEncode(b *testing.B) {
	e, j := New(Resource{}, nil, nil), traffic.New()
	for i := range maxBatch {
		record(j, uint64(i), "", detour())
	}
	batch, last, _ := j.Since(0)
	for len(batch) < maxBatch {
		some, next, _ := j.Since(last)
		batch, last = append(batch, some...), next
	}
	for b.Loop() {
		text, _ := e.encode(Config{}, batch)
		b.SetBytes(int64(len(text)))
	}
}
