//go:build linux

package main

import (
	"math"
	"slices"
	"time"
)

// median returns the middle of v, or NaN of nothing. Single pauses of the
// machine say nothing of a server. It leaves v as it is.
func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(v))
	mid := len(s) / 2
	if len(s)%2 == 1 {
		return s[mid]
	}
	return (s[mid-1] + s[mid]) / 2
}

// percentile returns the smallest value that at least the part p of d does not
// exceed (nearest rank), 0 of nothing. It sorts d.
func percentile(d []time.Duration, p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	rank := int(math.Ceil(p * float64(len(d))))
	return d[min(max(rank, 1), len(d))-1]
}

func inMS(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
