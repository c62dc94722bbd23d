package metrics

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/healthcheck"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/golden"
	"github.com/pullchain/pullchain/internal/guard"
	"github.com/pullchain/pullchain/internal/leaktest"
	"github.com/pullchain/pullchain/internal/traffic"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const document = "../../docs/metrics.md"

// The table in the document is that of the definitions.
func TestTable(t *testing.T) {
	old, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	const heading = "| metric | type | labels | what |\n|---|---|---|---|\n"
	before, rest, _ := strings.Cut(string(old), heading)
	after := ""
	if i := strings.Index(rest, "\n\n"); i >= 0 {
		after = rest[i:]
	}
	var rows []string
	byName := slices.SortedFunc(slices.Values(defined), func(a, b *metric) int { return strings.Compare(a.name, b.name) })
	for _, m := range byName {
		labels := strings.Join(m.labels, ", ")
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |", m.name, m.kind, labels, m.help))
	}
	want := before + heading + strings.Join(rows, "\n") + max(after, "\n")
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(old)); diff != "" {
		t.Errorf("docs/metrics.md (-want +got, -update rewrites it):\n%s", diff)
	}
}

// The names are what Prometheus wants of names.
func TestLint(t *testing.T) {
	t.Parallel()
	problems, err := testutil.GatherAndLint(registry(sources(2, 5)))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Every value of a snapshot comes out as the series that it is meant to be.
func TestSeries(t *testing.T) {
	t.Parallel()
	from := sources(1, 1)
	s := from.Snapshot()
	s.Version = "1.2.3"
	from.Snapshot = func() admin.Snapshot { return s }
	h := New(from)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Fatalf("%d, %v", w.Code, w.Header())
	}
	var ours []string
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "pullchain_") && !strings.HasPrefix(line, "pullchain_build_info") {
			ours = append(ours, line)
		}
	}
	golden.Compare(t, filepath.Join("testdata", "series.txt"), strings.Join(ours, ""))
	for _, want := range []string{`pullchain_build_info{goversion="go`, `version="1.2.3"} 1`, "go_goroutines ", "process_"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %q", want)
		}
	}
}

// A mistake while the series are made costs the rest of them, and no process.
func TestCollectThatFails(t *testing.T) {
	t.Parallel()
	from := sources(1, 1)
	from.Guard = guard.New(slog.New(slog.DiscardHandler))
	good := from.Snapshot
	broken := true
	from.Snapshot = func() admin.Snapshot {
		if broken {
			panic("no such lane")
		}
		return good()
	}
	h := New(from)
	scrape := func() string {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if w.Code != http.StatusOK {
			t.Errorf("status %d", w.Code)
		}
		return w.Body.String()
	}
	if text := scrape(); !strings.Contains(text, "go_goroutines ") || strings.Contains(text, "pullchain_build_info") {
		t.Errorf("while it is broken:\n%s", text)
	}
	broken = false
	if text := scrape(); !strings.Contains(text, `pullchain_panics_total{part="metrics"} 1`) || !strings.Contains(text, "pullchain_build_info") {
		t.Errorf("later:\n%s", text)
	}
}

// A cache that is wanted and cannot be had has no figures, and one that is switched off
// has none either.
func TestWithoutCache(t *testing.T) {
	t.Parallel()
	for name, none := range map[string]*cache.Snapshot{"off": nil, "broken": {Stats: blobstore.Stats{Dir: "/x", Trouble: "no room"}}} {
		from := sources(1, 1)
		s := from.Snapshot()
		s.Cache = none
		from.Snapshot = func() admin.Snapshot { return s }
		families, err := registry(from).Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if strings.HasPrefix(f.GetName(), "pullchain_cache_") {
				t.Errorf("%s: %s", name, f.GetName())
			}
		}
	}
}

func TestQuotaSource(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"": "unknown", "192.0.2.7": "ip", "2001:db8::1": "ip", "2001:db8::/64": "ip", "3c3a-account-id": "account",
	} {
		if got := quotaSource(said); got != want {
			t.Errorf("%q: %q, want %q", said, got, want)
		}
	}
}

// sources are n registries with so many upstreams each, and everything that can have
// happened.
func sources(n, lanes int) Sources {
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	s := admin.Snapshot{Version: "test", Now: at, Config: admin.ConfigState{LoadedAt: at, LastReloadOK: true}}
	s.Overrides = []admin.Override{{Kind: admin.KindDrain}, {Kind: admin.KindDrain}, {Kind: admin.KindPin}}
	down := balancer.EgressSnapshot{State: balancer.EgressDown}
	s.Egresses = []diagnose.Egress{{Name: "proxy", EgressSnapshot: down}, {Name: "other"}}
	var c traffic.Counts
	times := func(n uint64) traffic.Histogram {
		return traffic.Histogram{Bounds: []float64{0.1, 1}, Counts: []uint64{n, 1, 2}, Sum: 10.5, Count: n + 3}
	}
	c.InFlight = map[string]int{"manifest": 1, "blob": 2}
	c.Refused = map[traffic.Why]uint64{traffic.AllTaken: 0, traffic.ClientHasMany: 3}
	c.Clients = []traffic.ClientCount{{Family: "docker", Form: "mirror", N: 7, Last: at}, {Family: "other", N: 1, Last: at}}
	for i := range n {
		r := registryOf(fmt.Sprintf("registry%d.example", i), lanes, at)
		s.Registries = append(s.Registries, r)
		c.Requests = append(c.Requests,
			traffic.RequestCount{Registry: r.Registry, Kind: "manifest", Method: "GET", Code: 200, Cache: "hit", N: 9},
			traffic.RequestCount{Registry: r.Registry, Kind: "blob", Method: "GET", Code: 0, Cache: "none", N: 1})
		c.Bytes = append(c.Bytes, traffic.ByteCount{Registry: r.Registry, Kind: "blob", Source: "upstream", N: 1000})
		c.Timings = append(c.Timings, traffic.Timing{Registry: r.Registry, Kind: "manifest", Cache: "hit", TTFB: times(5), Duration: times(4)})
		c.Pulls = append(c.Pulls, traffic.PullCount{Registry: r.Registry, Active: 1, Done: 2, Failed: 3})
	}
	c.Requests = append(c.Requests, traffic.RequestCount{Registry: "gone.example", Kind: "manifest", Method: "GET", Code: 200, Cache: "hit", N: 9})
	s.Cache = &cache.Snapshot{
		Stats:          blobstore.Stats{Bytes: 100, Limit: 200, Free: 300, Objects: 10, Manifests: 3, Partial: 1, Evictions: 5, ForDisk: 2, Scanned: true},
		Requests:       map[string]map[string]uint64{"manifest": {"hit": 1, "miss": 2}},
		SavedBytes:     42,
		Coalesced:      4,
		VerifyFailures: 1,
		StaleBy:        []cache.Stale{{Registry: "registry0.example", Code: "dns", N: 2}, {Registry: "gone.example", Code: "dns", N: 2}},
	}
	return Sources{Snapshot: func() admin.Snapshot { return s }, Traffic: func() traffic.Counts { return c }, Streams: new(admin.StreamCounts)}
}

func registryOf(name string, lanes int, at time.Time) admin.Registry {
	later := at.Add(time.Hour)
	h := balancer.Histogram{Bounds: []float64{0.1, 1}, Counts: []uint64{1, 2, 3}, SumS: 4.5}
	r := admin.Registry{Snapshot: balancer.Snapshot{Registry: name, Pullable: true, Proved: true}}
	r.Counts = balancer.Counts{
		Failovers:     []balancer.FailoverCount{{From: "up0", To: "up1", Code: "http_5xx", Phase: "manifest", N: 3}},
		FailoverAdded: map[string]balancer.Histogram{"manifest": h},
		Resumes:       2, ResumedBytes: 2000, HedgesWon: 1, HedgesLost: 2, HedgesFailed: 3,
		ExhaustedKinds: []balancer.KindCount{{Kind: "manifest", N: 1}},
	}
	for i := range lanes {
		l := balancer.LaneSnapshot{
			Upstream: fmt.Sprintf("up%d", i), Order: i + 1, State: balancer.StateStandby, Since: &at, LastServed: &at, TLSExpiry: &later,
			Eligible: true, First: i == 0, InFlight: int64(i),
			Counts: balancer.LaneCounts{
				Requests: []balancer.RequestCount{{Kind: "manifest", Outcome: "ok", N: 6}, {Kind: "tags", Outcome: "denied", N: 1}},
				TTFB:     map[string]balancer.Histogram{"manifest": h, "blob": h}, Received: 1234, BreakersOpened: 2, BreakersClosed: 1,
			},
			Classes: []balancer.ClassSnapshot{{Class: "manifest", Outcomes: map[pullchain.Code]uint64{"http_429_quota": 2}}, {Class: "blob", Outcomes: map[pullchain.Code]uint64{"http_429_quota": 1}}},
			Quota:   &balancer.QuotaSnapshot{Limit: 100, Remaining: 7, WindowS: 21600, Source: "192.0.2.7", At: at},
		}
		if i == 0 {
			l.State = balancer.StateServing
		}
		r.Lanes = append(r.Lanes, l)
		p := healthcheck.TargetSnapshot{Name: l.Upstream, Counts: healthcheck.Counts{Passed: 8, Failed: map[string]uint64{"dns": 1}, TookS: 1.5}}
		p.Counts.Took[1] = 9
		r.Probes = append(r.Probes, p)
	}
	return r
}

// BenchmarkScrape is one scrape of 50 upstreams of ten registries, without the taking of
// the snapshot (daemon.BenchmarkSnapshot).
func BenchmarkScrape(b *testing.B) {
	h := New(sources(10, 5))
	var size int64
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		size, _ = io.Copy(io.Discard, w.Body)
	}
	b.ReportMetric(float64(size)/1e3, "kB")
}
