package history

import "math"

// The buckets of a histogram: four to an octave from a quarter of a millisecond to
// about a minute, so that a percentile is right to a tenth.
const (
	shortestMS = 0.25
	perOctave  = 4
	buckets    = 18 * perOctave
)

// A histogram counts times in milliseconds.
type histogram [buckets]uint32

func (h *histogram) add(times []float64) {
	for _, ms := range times {
		i := perOctave * math.Log2(max(ms, shortestMS)/shortestMS)
		n := &h[int(min(i, buckets-1))]
		grow(n, 1)
	}
}

func (h *histogram) empty() bool { return *h == histogram{} }

// percentile returns the middle of the bucket that the p-th part of the times reaches
// into; p is between 0 and 1.
func (h *histogram) percentile(p float64) float32 {
	var total, sum uint64
	for _, n := range h {
		total += uint64(n)
	}
	for i, n := range h {
		if sum += uint64(n); n > 0 && float64(sum) >= p*float64(total) {
			return float32(shortestMS * math.Exp2((float64(i)+0.5)/perOctave))
		}
	}
	return 0
}
