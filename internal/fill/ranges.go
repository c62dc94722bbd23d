package fill

import (
	"cmp"
	"slices"
)

// A run is the bytes [from, to), all from one source: the upstream that sent
// them, or "" for what was found on the disk.
type run struct {
	from, to int64
	source   string
}

// ranges are the bytes of a blob that are there: sorted runs that do not overlap.
// Neighbours of one source are one run. The zero value has nothing.
type ranges struct {
	runs  []run
	total int64 // bytes in all
}

// find returns the index of the first run that ends after p.
func (r *ranges) find(p int64) int {
	i, _ := slices.BinarySearchFunc(r.runs, p, func(run run, p int64) int { return cmp.Compare(run.to, p+1) })
	return i
}

// add notes that [from, to) has come from source. None of it was there before.
func (r *ranges) add(from, to int64, source string) {
	if from >= to {
		return
	}
	r.total += to - from
	i := r.find(from)
	below := i > 0 && r.runs[i-1].to == from && r.runs[i-1].source == source
	above := i < len(r.runs) && r.runs[i].from == to && r.runs[i].source == source
	switch {
	case below && above:
		r.runs[i-1].to = r.runs[i].to
		r.runs = slices.Delete(r.runs, i, i+1)
	case below:
		r.runs[i-1].to = to
	case above:
		r.runs[i].from = from
	default:
		r.runs = slices.Insert(r.runs, i, run{from, to, source})
	}
}

// reach returns where the bytes end that begin at p and have no gap: p itself if
// there are none.
func (r *ranges) reach(p int64) int64 {
	for i := r.find(p); i < len(r.runs) && r.runs[i].from <= p; i++ {
		p = r.runs[i].to
	}
	return p
}

// gap returns the first bytes in [p, limit) that are missing.
func (r *ranges) gap(p, limit int64) (from, to int64, ok bool) {
	from = r.reach(p)
	if from >= limit {
		return 0, 0, false
	}
	to = limit
	if i := r.find(from); i < len(r.runs) {
		to = min(to, r.runs[i].from)
	}
	return from, to, true
}

// end returns where the last bytes end that are there.
func (r *ranges) end() int64 {
	if len(r.runs) == 0 {
		return 0
	}
	return r.runs[len(r.runs)-1].to
}

// trim forgets everything from at on.
func (r *ranges) trim(at int64) {
	i := r.find(at)
	for _, run := range r.runs[i:] {
		r.total -= run.to - max(run.from, at)
	}
	if i < len(r.runs) && r.runs[i].from < at {
		r.runs[i].to = at
		i++
	}
	r.runs = r.runs[:i]
}

// sources returns the upstreams that sent the bytes, each once.
func (r *ranges) sources() []string {
	var names []string
	for _, run := range r.runs {
		if !slices.Contains(names, run.source) {
			names = append(names, run.source)
		}
	}
	return names
}
