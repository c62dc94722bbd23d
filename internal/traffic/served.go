package traffic

import (
	"cmp"
	"slices"
	"time"

	"github.com/pullchain/pullchain"
)

// ServedMinutes is how far back a Served count looks.
const ServedMinutes = 10

// Served counts the requests of one class of a registry that one upstream has
// answered in the last [ServedMinutes]. It tells which upstreams really serve, as
// clients see it: a lane may be the first of the chain and serve nothing, because its
// quota is spared or the cache has it all.
type Served struct {
	Class    pullchain.Class
	Upstream string // empty: the cache, without any upstream's word
	Requests uint64
}

type servedKey struct {
	upstream string
	class    pullchain.Class
}

// minutes are the counts of the last minutes, each by its number since 1970: an old
// one is as good as none.
type minutes [ServedMinutes]struct {
	no int64
	n  uint64
}

// serve counts an answer of an upstream.
func (r *registry) serve(k servedKey, now time.Time) {
	m := r.served[k]
	if m == nil {
		m = new(minutes)
		r.served[k] = m
	}
	no := now.Unix() / 60
	slot := &m[no%ServedMinutes]
	if slot.no != no {
		slot.no, slot.n = no, 0
	}
	slot.n++
}

// Served returns which upstreams have served a registry lately, by class and then the
// most first, and drops the counts of which nothing is left.
func (j *Journal) Served(name string) []Served {
	no := time.Now().Unix() / 60
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.registries[name]
	if r == nil {
		return nil
	}
	var out []Served
	for k, m := range r.served {
		var sum uint64
		for _, slot := range m {
			if age := no - slot.no; age >= 0 && age < ServedMinutes { // less: the clock has been set back
				sum += slot.n
			}
		}
		if sum == 0 {
			delete(r.served, k)
			continue
		}
		out = append(out, Served{Class: k.class, Upstream: k.upstream, Requests: sum})
	}
	slices.SortFunc(out, func(a, b Served) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Upstream, b.Upstream))
	})
	return out
}
