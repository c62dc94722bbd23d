package history

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
)

// noon is a time at which a cell of each length begins.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return noon.Add(d) }

// seen returns the cells of which something is known.
func seen(r *Rings, w Window, now time.Time) []Cell {
	return slices.DeleteFunc(r.Cells("docker.io", "hub", w, now), func(c Cell) bool { return c.State == "" })
}

func observe(r *Rings, now time.Time, o Observation) {
	o.Registry, o.Upstream = "docker.io", "hub"
	r.Observe(now, []Observation{o})
}

func TestCellsMergeProbesAndTraffic(t *testing.T) {
	t.Parallel()
	r := New()
	observe(r, at(0), Observation{
		State: "serving", OK: 10, ProbesOK: 2, Waits: []Waits{{Total: 3, LastMS: []float64{10, 10, 400}}},
		ProbeWaits: Waits{Total: 2, LastMS: []float64{2000, 2000}},
	})
	observe(r, at(5*time.Second), Observation{
		State: "cooling", Code: "http_429_quota", OK: 12, Failed: 3, ProbesOK: 2, ProbesFailed: 1,
		Codes: map[string]uint64{"http_429_quota": 2, "stall": 1}, Waits: []Waits{{Total: 5, LastMS: []float64{10, 10, 400, 10, 10}}},
		ProbeWaits: Waits{Total: 2, LastMS: []float64{2000, 2000}},
	})
	observe(r, at(10*time.Second), Observation{
		State: "standby", OK: 13, Failed: 3, ProbesOK: 3, ProbesFailed: 1, Codes: map[string]uint64{"http_429_quota": 2, "stall": 1},
		Waits: []Waits{{Total: 5, LastMS: []float64{10, 10, 400, 10, 10}}},
	})
	for _, w := range []Window{Hour, Day, Month} {
		cells := r.Cells("docker.io", "hub", w, at(10*time.Second))
		got := cells[len(cells)-1]
		p50, p95 := got.P50MS, got.P95MS
		got.P50MS, got.P95MS = 0, 0
		want := Cell{Start: noon, State: "cooling", OK: 13, Failed: 3, ProbesOK: 3, ProbesFailed: 1, Code: "http_429_quota"}
		if got != want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", w, got, want)
		}
		if p50 < 9 || p50 > 11 || p95 < 360 || p95 > 440 {
			t.Errorf("%s: p50 %v and p95 %v, want those of the five requests, to a tenth", w, p50, p95)
		}
		if known := seen(r, w, at(10*time.Second)); len(known) != 1 {
			t.Errorf("%s: %d cells know something", w, len(known))
		}
	}
}

func TestWindowsHaveTheirCells(t *testing.T) {
	t.Parallel()
	r := New()
	observe(r, noon, Observation{State: "serving"})
	for w, want := range map[Window]int{Hour: 60, Day: 96, Month: 120} {
		cells := r.Cells("docker.io", "hub", w, noon)
		if len(cells) != want {
			t.Errorf("%s: %d cells", w, len(cells))
		}
		for i := range cells[1:] {
			if d := cells[i+1].Start.Sub(cells[i].Start); d != w.Period() {
				t.Errorf("%s: cell %d begins %v after the one before", w, i+1, d)
			}
		}
	}
	if r.Cells("docker.io", "hub", "1y", noon) != nil || r.Cells("docker.io", "none", Hour, noon) != nil || Window("1y").Period() != 0 {
		t.Error("there are cells of what there is not")
	}
}

// How much came and how fast, what failed how, and what was said of a quota: each is
// counted from what the observation before had.
func TestCellsTellWhatCame(t *testing.T) {
	t.Parallel()
	r := New()
	said := func(left int, at time.Time) *Quota { return &Quota{Limit: 100, Remaining: left, At: at} }
	observe(r, at(0), Observation{State: "serving", Received: 700, Rates: Rates{2, []float64{1e6, 1e6}}, Failed: 3, SaidNo: 2, Limited: 1, Quota: said(40, at(-time.Second))})
	observe(r, at(5*time.Second), Observation{State: "serving", Received: 1400 + 10<<20, Rates: Rates{5, []float64{1e6, 1e6, 1e6, 1e6, 64e6}}, Failed: 8, SaidNo: 3, Limited: 1, Broken: 4, Quota: said(12, at(4*time.Second))})
	observe(r, at(10*time.Second), Observation{State: "serving", Received: 1400 + 10<<20, Rates: Rates{Total: 5}, Failed: 8, SaidNo: 3, Limited: 1, Broken: 4, Quota: said(90, at(9*time.Second))})
	got := seen(r, Hour, at(10*time.Second))
	if len(got) != 1 {
		t.Fatalf("got %+v", got)
	}
	c := got[0]
	if c.Received != 10<<20+1<<10 || c.Failed != 8 || c.SaidNo != 3 || c.Limited != 1 || c.Broken != 4 {
		t.Errorf("got %+v", c)
	}
	if c.RateP50 < 900_000 || c.RateP50 > 1_100_000 || c.RateP95 < 58e6 || c.RateP95 > 70e6 {
		t.Errorf("%d and %d bytes/s, want those of the five blobs, to a tenth", c.RateP50, c.RateP95)
	}
	if c.QuotaLimit != 100 || c.QuotaRemaining != 12 {
		t.Errorf("%d of %d left, want the least that was said", c.QuotaRemaining, c.QuotaLimit)
	}

	// What was said before is not said again by being observed again.
	observe(r, at(time.Minute), Observation{State: "serving", Quota: said(90, at(9*time.Second))})
	observe(r, at(2*time.Minute), Observation{State: "serving", Quota: said(-5, at(2*time.Minute)), Rates: Rates{1, []float64{1e15}}})
	got = seen(r, Hour, at(2*time.Minute))
	if len(got) != 3 || got[1].QuotaLimit != 0 || got[1].RateP50 != 0 || got[1].Received != 0 {
		t.Fatalf("got %+v", got)
	}
	if got[2].QuotaLimit != 100 || got[2].QuotaRemaining != 0 || got[2].RateP50 < 900<<20 {
		t.Errorf("beyond what can be: %+v", got[2])
	}
}

// A state that came and went between two observations is in the bar, in each cell that
// it touched.
func TestShortStates(t *testing.T) {
	t.Parallel()
	r := New()
	observe(r, at(57*time.Second), Observation{State: "serving"})
	observe(r, at(62*time.Second), Observation{State: "serving", Seen: []Sight{
		{At: at(58 * time.Second), State: "down", Code: "conn_refused"},
		{At: at(61 * time.Second), State: "serving"},
		{At: at(time.Hour), State: "quarantined"}, // by a clock that was put back
	}})
	got := seen(r, Hour, at(62*time.Second))
	if len(got) != 2 {
		t.Fatalf("got %+v", got)
	}
	for _, c := range got {
		if c.State != "down" || c.Code != "conn_refused" {
			t.Errorf("%v: %s %s, want it down", c.Start, c.State, c.Code)
		}
	}
}

func TestCountersThatBeginAnew(t *testing.T) {
	t.Parallel()
	r := New()
	waits := []Waits{{Total: 100, LastMS: []float64{1}}}
	observe(r, at(0), Observation{State: "serving", OK: 100, Failed: 7, Codes: map[string]uint64{"stall": 7}, Waits: waits})
	observe(r, at(time.Minute), Observation{State: "serving", OK: 3, Failed: 1, Codes: map[string]uint64{"dns": 1}, Waits: []Waits{{Total: 2, LastMS: []float64{64, 64}}}})
	got := seen(r, Hour, at(time.Minute))
	if len(got) != 2 || got[1].OK != 3 || got[1].Failed != 1 || got[1].Code != "dns" || got[1].P50MS < 57 || got[1].P50MS > 71 {
		t.Errorf("got %+v", got)
	}
}

// The most frequent reason stands where the state has none of its own; probes' times
// where there was no traffic.
func TestWhatIsLessGood(t *testing.T) {
	t.Parallel()
	r := New()
	observe(r, noon, Observation{State: "serving", Failed: 5, Codes: map[string]uint64{"stall": 4, "dns": 1}, ProbesOK: 1, ProbeWaits: Waits{1, []float64{100}}})
	got := seen(r, Hour, noon)
	if len(got) != 1 || got[0].Code != "stall" || got[0].P95MS < 90 || got[0].P95MS > 110 {
		t.Errorf("got %+v", got)
	}
}

func TestWorse(t *testing.T) {
	t.Parallel()
	order := []string{"", "unknown", "serving", "standby", "disabled", "drained", "degraded", "half_open", "cooling", "open", "down", "quarantined"}
	for i, a := range order {
		for j, b := range order {
			if Worse(a, b) != (i > j) {
				t.Errorf("Worse(%q, %q) is %v", a, b, Worse(a, b))
			}
		}
	}
	if Known("brilliant") || Worse("brilliant", "serving") {
		t.Error("a word that is not known is worse than none")
	}
}

// A clock is put right: back from a time that was wrong, or forward. What is then
// shown is what was observed, at most twice in one cell, and nothing of a future.
func TestF60_ClockOfHistory(t *testing.T) {
	t.Parallel()
	r := New()
	observe(r, at(48*time.Hour), Observation{State: "down", Failed: 1})
	observe(r, at(0), Observation{State: "serving", Failed: 1, OK: 1})
	observe(r, at(-30*time.Minute), Observation{State: "serving", Failed: 1, OK: 2})
	observe(r, at(5*time.Second), Observation{State: "serving", Failed: 1, OK: 3})
	for _, w := range []Window{Hour, Day, Month} {
		for _, now := range []time.Time{at(time.Minute), at(48 * time.Hour), at(49 * time.Hour)} {
			for _, c := range seen(r, w, now) {
				if c.State != "serving" || c.Failed != 0 {
					t.Errorf("%s at %v: %+v", w, now, c)
				}
			}
		}
	}
	if got := seen(r, Hour, at(time.Minute)); len(got) != 2 {
		t.Errorf("got %+v, want what was seen at -30 min and at 0", got)
	}
	observe(r, time.Unix(-5, 0), Observation{State: "serving"}) // a clock that was never set
	observe(r, time.Unix(5, 0), Observation{State: "serving"})
	if got := seen(r, Hour, time.Unix(70, 0)); len(got) == 0 || got[len(got)-1].State != "serving" {
		t.Errorf("in 1970: %+v", got)
	}
}

func TestLanesThatAreGone(t *testing.T) {
	t.Parallel()
	r := New()
	names := func(now time.Time, prefix string, n int) {
		var all []Observation
		for i := range n {
			all = append(all, Observation{Registry: "docker.io", Upstream: fmt.Sprint(prefix, i), State: "serving"})
		}
		r.Observe(now, all)
	}
	names(at(0), "old", 2)
	names(at(24*time.Hour), "new", 3)
	if r.Cells("docker.io", "old0", Month, at(24*time.Hour)) == nil {
		t.Error("a lane that went a day ago has no history")
	}
	names(at(Kept+time.Hour), "new", 3)
	if r.Cells("docker.io", "old0", Month, at(Kept+time.Hour)) != nil {
		t.Error("a lane that has been gone for 30 days is kept")
	}
	for i := range 2 * maxGone { // a configuration with other names each time
		names(at(Kept+2*time.Hour+time.Duration(i)*time.Second), fmt.Sprint("changing", i, "-"), 1)
	}
	if len(r.lanes) != 1+maxGone {
		t.Errorf("%d lanes are kept", len(r.lanes))
	}
}

// end is the time of the last observation of full.
var end = at(30*24*time.Hour + 23*time.Minute)

// full returns rings of n lanes in which each cell of each has something.
func full(n int) *Rings {
	r := New()
	var times []time.Time
	for _, s := range shapes[:] {
		for i := range s.cells {
			times = append(times, end.Add(-time.Duration(s.cells-1-i)*s.period))
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	for i, now := range times {
		var all []Observation
		for lane := range n {
			all = append(all, Observation{
				Registry: "docker.io", Upstream: fmt.Sprint("hub", lane), State: badness[i%len(badness)], Code: fmt.Sprint("code", i%40),
				OK: uint64(i) * 1000, Failed: uint64(i), ProbesOK: uint64(i), Codes: map[string]uint64{"stall": uint64(i), "dns": uint64(i)},
				Waits: []Waits{{uint64(i) * 2, []float64{float64(i), 2}}}, Received: uint64(i) * 1_000_001, Rates: Rates{uint64(i), []float64{float64(i) * 50_000}},
				SaidNo: uint64(i) / 2, Limited: uint64(i) / 4, Broken: uint64(i) / 8, Quota: &Quota{100, i % 100, now},
			})
		}
		r.Observe(now, all)
	}
	return r
}

func TestMemory(t *testing.T) {
	const lanes, bound = 50, 24 << 10
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := full(lanes)
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := int64(after.HeapAlloc-before.HeapAlloc) / lanes
	runtime.KeepAlive(r)
	t.Logf("%d bytes an upstream", each)
	if each > bound {
		t.Errorf("%d bytes an upstream, more than %d", each, bound)
	}
}

func BenchmarkObserve(b *testing.B) {
	r, i := full(50), 0
	var all []Observation
	for lane := range 50 {
		all = append(all, Observation{Registry: "docker.io", Upstream: fmt.Sprint("hub", lane), State: "serving", OK: 1, Waits: []Waits{{5, []float64{1, 2, 3, 4, 5}}}})
	}
	for b.Loop() {
		i++
		r.Observe(end.Add(time.Duration(i)*5*time.Second), all)
	}
}
