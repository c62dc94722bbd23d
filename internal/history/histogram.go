package history

import "math"

// The buckets of a histogram: four to an octave from a quarter of a unit to some 65,000 of
// them, so that a percentile is right to a tenth. Of milliseconds that is about a minute.
const (
	least     = 0.25
	perOctave = 4
	buckets   = 18 * perOctave
)

// A histogram counts values in some unit: times in milliseconds, say.
type histogram [buckets]uint32

func (h *histogram) add(values []float64) {
	for _, one := range values {
		i := perOctave * math.Log2(max(one, least)/least)
		n := &h[int(min(i, buckets-1))]
		grow(n, 1)
	}
}

func (h *histogram) empty() bool { return *h == histogram{} }

// percentile returns the middle of the bucket that the p-th part of the values reaches
// into; p is between 0 and 1.
func (h *histogram) percentile(p float64) float32 {
	var total, sum uint64
	for _, n := range h {
		total += uint64(n)
	}
	for i, n := range h {
		if sum += uint64(n); n > 0 && float64(sum) >= p*float64(total) {
			return float32(least * math.Exp2((float64(i)+0.5)/perOctave))
		}
	}
	return 0
}
