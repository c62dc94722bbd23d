package front

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/pullchain/pullchain"
)

// ServedMinutes is how far back a Served count looks.
const ServedMinutes = 10

// Served counts the requests of one class of a registry that one upstream has
// answered in the last [ServedMinutes].
type Served struct {
	Class    pullchain.Class
	Upstream string // empty: the cache, without any upstream's word
	Requests uint64
}

// A tally counts which upstreams really serve, as clients see it: a lane may be the
// first of the chain and serve nothing, because its quota is spared or the cache has
// it all. It is safe for concurrent use.
type tally struct {
	mu     sync.Mutex
	counts map[tallyKey]*minutes
}

type tallyKey struct {
	registry, upstream string
	class              pullchain.Class
}

// minutes are the counts of the last minutes, each by its number since 1970: an old
// one is as good as none.
type minutes [ServedMinutes]struct {
	no int64
	n  uint64
}

// count counts an answer.
func (t *tally) count(k tallyKey, now time.Time) {
	no := now.Unix() / 60
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.counts[k]
	if m == nil {
		if t.counts == nil {
			t.counts = map[tallyKey]*minutes{}
		}
		m = new(minutes)
		t.counts[k] = m
	}
	slot := &m[no%ServedMinutes]
	if slot.no != no {
		slot.no, slot.n = no, 0
	}
	slot.n++
}

// of returns the counts of a registry, by class and then the most first, and drops
// those of which nothing is left.
func (t *tally) of(registry string, now time.Time) []Served {
	no := now.Unix() / 60
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Served
	for k, m := range t.counts {
		var sum uint64
		for _, slot := range m {
			if no-slot.no < ServedMinutes {
				sum += slot.n
			}
		}
		switch {
		case sum == 0:
			delete(t.counts, k)
		case k.registry == registry:
			out = append(out, Served{Class: k.class, Upstream: k.upstream, Requests: sum})
		}
	}
	slices.SortFunc(out, func(a, b Served) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Upstream, b.Upstream))
	})
	return out
}

// Served returns which upstreams have served a registry lately.
func (h *Handler) Served(registry string) []Served { return h.tally.of(registry, time.Now()) }
