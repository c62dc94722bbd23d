package blobstore

import "slices"

// An Extent is a run of bytes [From, To) and its source.
type Extent struct {
	From, To int64
	Source   string
}

// overlay adds e to a list that is sorted and disjoint. Where e lies over
// another, e counts: its bytes were written later. Neighbours of one source
// become one.
func overlay(list []Extent, e Extent) []Extent {
	if e.From < 0 || e.From >= e.To {
		return list
	}
	var before, after []Extent
	first := 0
	for first < len(list) && list[first].To < e.From {
		first++
	}
	last := first
	for ; last < len(list) && list[last].From <= e.To; last++ {
		old := list[last]
		if old.Source == e.Source {
			e.From, e.To = min(e.From, old.From), max(e.To, old.To)
			continue
		}
		if old.From < e.From {
			before = append(before, Extent{old.From, min(old.To, e.From), old.Source})
		}
		if old.To > e.To {
			after = append(after, Extent{max(old.From, e.To), old.To, old.Source})
		}
	}
	return slices.Replace(list, first, last, append(append(before, e), after...)...)
}

// clip cuts what lies beyond size.
func clip(list []Extent, size int64) []Extent {
	var kept []Extent
	for _, e := range list {
		if e.To = min(e.To, size); e.From < e.To {
			kept = append(kept, e)
		}
	}
	return kept
}

// covered returns how many bytes a list has.
func covered(list []Extent) (n int64) {
	for _, e := range list {
		n += e.To - e.From
	}
	return n
}
