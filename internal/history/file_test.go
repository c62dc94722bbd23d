package history

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "state", "history.json.gz")
	r, now := full(2), end
	if err := r.Save(file, now); err != nil {
		t.Fatal(err)
	}
	again := New()
	if err := again.Load(file); err != nil {
		t.Fatal(err)
	}
	for _, w := range []Window{Hour, Day, Month} {
		if got, want := again.Cells("docker.io", "hub1", w, now), r.Cells("docker.io", "hub1", w, now); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", w, got, want)
		}
	}
	// The open cells go on where they were, and the counters of the new process begin at 0.
	slow := []float64{1000, 1000, 1000, 1000, 1000}
	o := Observation{Registry: "docker.io", Upstream: "hub1", State: "serving", OK: 5, Failed: 2, Codes: map[string]uint64{"stall": 2}, Waits: []Waits{{5, slow}}}
	again.Observe(now, []Observation{o})
	was := r.lanes[key{"docker.io", "hub1"}].last
	o.OK, o.Failed, o.ProbesOK, o.Waits = was.OK+5, was.Failed+2, was.ProbesOK, []Waits{{was.Waits[0].Total + 5, slow}}
	o.Codes = map[string]uint64{"stall": was.Codes["stall"] + 2, "dns": was.Codes["dns"]}
	r.Observe(now, []Observation{o})
	for _, w := range []Window{Hour, Day, Month} {
		if got, want := again.Cells("docker.io", "hub1", w, now), r.Cells("docker.io", "hub1", w, now); !reflect.DeepEqual(got, want) {
			t.Errorf("%s, after more:\ngot  %+v\nwant %+v", w, got[len(got)-1], want[len(want)-1])
		}
	}
	files, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(files) != 1 {
		t.Errorf("there are %v, %v", files, err)
	}
}

// A file of a pullchain that counted less is read, and what it did not count is not known.
func TestFileFromBeforeThereWereRates(t *testing.T) {
	t.Parallel()
	const old = `{"version":1,"at":"2026-03-01T12:00:07Z","lanes":[{"registry":"docker.io","upstream":"hub","seen":"2026-03-01T12:00:05Z","rings":[` +
		`{"window":"1h","cells":[{"n":29539440,"s":"cooling","o":13,"f":3,"50":9.9,"95":380.5,"po":3,"pf":1,"c":"http_429_quota","q":"stall"}],"open":{"n":29539440,"w":{"21":4,"42":1},"c":{"stall":1}}}]}]}`
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(old))
	_ = z.Close()
	file := filepath.Join(t.TempDir(), "history.json.gz")
	if err := os.WriteFile(file, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	r := New()
	if err := r.Load(file); err != nil {
		t.Fatal(err)
	}
	want := Cell{Start: noon, State: "cooling", OK: 13, Failed: 3, ProbesOK: 3, ProbesFailed: 1, P50MS: 9.9, P95MS: 380.5, Code: "http_429_quota"}
	if got := seen(r, Hour, at(7*time.Second)); len(got) != 1 || got[0] != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	observe(r, at(10*time.Second), Observation{State: "serving", Rates: Rates{1, []float64{2e6}}, Received: 5 << 10})
	if got := seen(r, Hour, at(10*time.Second)); got[0].OK != 13 || got[0].Received != 5<<10 || got[0].RateP50 < 1_800_000 {
		t.Errorf("and goes on: %+v", got)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	pack := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write([]byte(text))
		_ = z.Close()
		return b.String()
	}
	good := pack(`{"version":1,"lanes":[]}`)
	for _, tt := range []struct{ name, content, says string }{
		{"empty", "", "EOF"},
		{"cut", good[:len(good)-6], "EOF"},
		{"flipped", strings.Replace(good, good[20:21], "\x01", 1), ""},
		{"no JSON", pack("hello"), "invalid character"},
		{"of the future", pack(`{"version":2,"lanes":{"other":1}}`), ""},
		{"of the future, as it is now", pack(`{"version":2}`), "version 2"},
	} {
		file := filepath.Join(t.TempDir(), "history.json.gz")
		if err := os.WriteFile(file, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file+".123.tmp", nil, 0o600); err != nil { // of a process that was killed
			t.Fatal(err)
		}
		r := New()
		err := r.Load(file)
		if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), file+".spoilt") {
			t.Errorf("%s: got %v", tt.name, err)
		}
		if kept, err := os.ReadFile(file + ".spoilt"); err != nil || string(kept) != tt.content {
			t.Errorf("%s: it was not put aside: %v", tt.name, err)
		}
		if _, err := os.Stat(file + ".123.tmp"); err == nil {
			t.Errorf("%s: what was unfinished is still there", tt.name)
		}
		observe(r, noon, Observation{State: "serving"})
		if err := r.Save(file, noon); err != nil {
			t.Errorf("%s: then it cannot be written: %v", tt.name, err)
		}
	}
	file := filepath.Join(t.TempDir(), "long")
	if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := read(file, 10); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a file that unpacks to more than is allowed: %v", err)
	}
	if err := New().Load(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("there is no file yet: %v", err)
	}
}

// What is in a good file may still be nonsense: it must neither break anything nor
// point outside of anything.
func TestFilesThatLie(t *testing.T) {
	t.Parallel()
	r := New()
	r.loadLocked(saved{Lanes: []savedLane{{Registry: "docker.io", Upstream: "hub", Rings: []savedRing{
		{Window: "1y"},
		{Window: Hour, Cells: []savedCell{{Number: 1<<32 - 1, State: "serving"}, {Number: 7}, {Number: 8, State: "brilliant"}}, Open: savedTally{Waits: map[int]uint32{-1: 1, 9999: 1}}},
	}}}})
	observe(r, noon, Observation{State: "serving"})
	if got := seen(r, Hour, noon); len(got) != 1 || got[0].State != "serving" {
		t.Errorf("got %+v", got)
	}
}

func TestSaveSaysWhyItCannot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := New().Save(filepath.Join(dir, "file", "history.json.gz"), noon); err == nil {
		t.Error("it was saved below a file")
	}
}

func TestSaveWhileObserving(t *testing.T) {
	t.Parallel()
	r, file := New(), filepath.Join(t.TempDir(), "history.json.gz")
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 100 {
			observe(r, at(time.Duration(i)*time.Second), Observation{State: "serving", Codes: map[string]uint64{"dns": uint64(i)}})
		}
	})
	wg.Go(func() {
		for range 10 {
			if err := r.Save(file, noon); err != nil {
				t.Error(err)
			}
			r.Cells("docker.io", "hub", Day, noon)
		}
	})
	wg.Wait()
}

func BenchmarkSave(b *testing.B) {
	r, file := full(50), filepath.Join(b.TempDir(), "history.json.gz")
	for b.Loop() {
		if err := r.Save(file, noon); err != nil {
			b.Fatal(err)
		}
	}
	if info, err := os.Stat(file); err == nil {
		b.ReportMetric(float64(info.Size()), "bytes")
	}
}
