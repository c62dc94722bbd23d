package blobstore

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOverlay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		add  []Extent
		want []Extent
	}{
		{"apart", []Extent{{5, 6, "a"}, {0, 2, "a"}}, []Extent{{0, 2, "a"}, {5, 6, "a"}}},
		{"neighbours of one source", []Extent{{0, 2, "a"}, {4, 6, "a"}, {2, 4, "a"}}, []Extent{{0, 6, "a"}}},
		{"neighbours of two", []Extent{{0, 2, "a"}, {2, 4, "b"}}, []Extent{{0, 2, "a"}, {2, 4, "b"}}},
		{"in the middle", []Extent{{0, 9, "a"}, {3, 5, "b"}}, []Extent{{0, 3, "a"}, {3, 5, "b"}, {5, 9, "a"}}},
		{"over several", []Extent{{0, 2, "a"}, {3, 5, "b"}, {6, 8, "c"}, {1, 7, "d"}}, []Extent{{0, 1, "a"}, {1, 7, "d"}, {7, 8, "c"}}},
		{"the same again", []Extent{{0, 2, "a"}, {0, 2, "b"}}, []Extent{{0, 2, "b"}}},
		{"nothing", []Extent{{3, 3, "a"}, {5, 4, "a"}, {-1, 4, "a"}}, nil},
	} {
		var got []Extent
		for _, e := range c.add {
			got = overlay(got, e)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// Any sequence of extents gives the same list as painting bytes one by one.
func TestOverlayIsPainting(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var list []Extent
		var bytes [40]string
		for range 12 {
			from := rng.Int64N(40)
			e := Extent{from, from + rng.Int64N(41-from), string(rune('a' + rng.IntN(3)))}
			list = overlay(list, e)
			for i := e.From; i < e.To; i++ {
				bytes[i] = e.Source
			}
		}
		var want []Extent
		for i, source := range bytes {
			if source == "" {
				continue
			}
			if n := len(want); n > 0 && want[n-1].To == int64(i) && want[n-1].Source == source {
				want[n-1].To++
			} else {
				want = append(want, Extent{int64(i), int64(i) + 1, source})
			}
		}
		if diff := cmp.Diff(want, list); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
	}
}
