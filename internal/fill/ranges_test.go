package fill

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRangesAdd(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		add  []run
		want []run
	}{
		{"nothing", nil, nil},
		{"empty", []run{{5, 5, "a"}}, nil},
		{"one", []run{{5, 9, "a"}}, []run{{5, 9, "a"}}},
		{"grows upward", []run{{0, 4, "a"}, {4, 9, "a"}}, []run{{0, 9, "a"}}},
		{"grows downward", []run{{4, 9, "a"}, {0, 4, "a"}}, []run{{0, 9, "a"}}},
		{"fills a gap", []run{{0, 4, "a"}, {6, 9, "a"}, {4, 6, "a"}}, []run{{0, 9, "a"}}},
		{"sources stay apart", []run{{0, 4, "a"}, {6, 9, "a"}, {4, 6, "b"}}, []run{{0, 4, "a"}, {4, 6, "b"}, {6, 9, "a"}}},
		{"joins its own only", []run{{0, 4, "a"}, {6, 9, "b"}, {4, 6, "b"}}, []run{{0, 4, "a"}, {4, 9, "b"}}},
		{"in any order", []run{{8, 9, "a"}, {0, 1, "a"}, {4, 5, "a"}}, []run{{0, 1, "a"}, {4, 5, "a"}, {8, 9, "a"}}},
	}
	for _, tt := range tests {
		var r ranges
		for _, a := range tt.add {
			r.add(a.from, a.to, a.source)
		}
		if diff := cmp.Diff(tt.want, r.runs, cmp.AllowUnexported(run{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestRangesLook(t *testing.T) {
	t.Parallel()
	var r ranges
	r.add(10, 20, "a")
	r.add(20, 30, "b")
	r.add(40, 50, "a")
	for _, tt := range []struct{ p, reach, from, to int64 }{
		{0, 0, 0, 10}, {9, 9, 9, 10}, {10, 30, 30, 40}, {29, 30, 30, 40}, {30, 30, 30, 40},
		{35, 35, 35, 40}, {40, 50, 50, 60}, {55, 55, 55, 60},
	} {
		if got := r.reach(tt.p); got != tt.reach {
			t.Errorf("reach(%d) = %d, want %d", tt.p, got, tt.reach)
		}
		if from, to, ok := r.gap(tt.p, 60); from != tt.from || to != tt.to || !ok {
			t.Errorf("gap(%d, 60) = %d, %d, %t, want %d, %d", tt.p, from, to, ok, tt.from, tt.to)
		}
	}
	if from, to, ok := r.gap(12, 25); ok {
		t.Errorf("gap(12, 25) = %d, %d", from, to)
	}
	if got := r.sources(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("sources = %q", got)
	}
}

// TestRangesModel compares ranges with a plain array, byte by byte.
func TestRangesModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 0))
		const size = 64
		var model [size]string
		var r ranges
		for range 60 {
			from := rng.Int64N(size)
			from, to, ok := r.gap(from, min(size, from+1+rng.Int64N(9)))
			if ok {
				source := string(rune('a' + rng.IntN(3)))
				r.add(from, to, source)
				for i := from; i < to; i++ {
					model[i] = source
				}
			}
			if rng.IntN(10) == 0 {
				at := rng.Int64N(size + 1)
				r.trim(at)
				clear(model[at:])
			}
			if !agrees(t, &r, model[:]) {
				t.Fatalf("seed %d: %v", seed, r.runs)
			}
		}
	}
}

func agrees(t *testing.T, r *ranges, model []string) bool {
	got := make([]string, len(model))
	last := run{from: -1, to: -1}
	for _, run := range r.runs {
		if run.from >= run.to || run.from < last.to || run.from == last.to && run.source == last.source {
			t.Errorf("run %v after %v", run, last)
			return false
		}
		for i := run.from; i < run.to; i++ {
			got[i] = run.source
		}
		last = run
	}
	total := int64(0)
	for i := range model {
		end := i
		for end < len(model) && model[end] != "" {
			end++
		}
		if r.reach(int64(i)) != int64(end) {
			t.Errorf("reach(%d) = %d, want %d", i, r.reach(int64(i)), end)
			return false
		}
		if model[i] != "" {
			total++
		}
	}
	return slices.Equal(got, model) && r.total == total
}
