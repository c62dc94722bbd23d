package cache

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
)

// A Snapshot is the cache as it stands, as plain values. Counts are of the time
// since the process began.
type Snapshot struct {
	blobstore.Stats
	Fills fill.Snapshot `json:"fills"`

	// Requests counts answers by what was asked for (manifest, blob, tags,
	// referrers) and by what the cache had to do with it: the words of
	// pullchain.CacheResult, and "error".
	Requests map[string]map[string]uint64 `json:"requests"`

	Hits           uint64  `json:"hits"`            // manifests and blobs that needed no byte from an upstream: hit, coalesced, stale
	Misses         uint64  `json:"misses"`          // the others that were answered
	HitRatio       float64 `json:"hit_ratio"`       // Hits of all answered, 0 to 1; 0 before the first
	SavedBytes     int64   `json:"saved_bytes"`     // of the bodies of Hits
	Coalesced      uint64  `json:"coalesced"`       // answers from what was being fetched for another request
	StaleBy        []Stale `json:"stale_by"`        // all of them, of any kind
	StaleServed    uint64  `json:"stale_served"`    // answers that no upstream could confirm
	Tags           int     `json:"tags"`            // whose meaning is known
	VerifyFailures uint64  `json:"verify_failures"` // stored content that was not what it should be
}

// A Stale counts the answers of one registry that no upstream could confirm, by why.
type Stale struct {
	Registry string         `json:"registry"`
	Code     pullchain.Code `json:"code"` // of the first upstream that failed
	N        uint64         `json:"n"`
}

// Snapshot returns the cache as it stands.
func (c *Cache) Snapshot() Snapshot {
	s := Snapshot{
		Stats:      c.store.Stats(),
		Fills:      c.fills.Snapshot(),
		Requests:   c.counts.byKind(),
		SavedBytes: c.counts.saved.Load(),
		Tags:       c.tags.count(),
		StaleBy:    c.counts.staleBy(),
	}
	s.VerifyFailures = s.Corrupt
	for _, op := range []pullchain.Op{pullchain.Manifest, pullchain.Blob} {
		n := s.Requests[op.String()]
		s.Coalesced += n[string(pullchain.CacheCoalesced)]
		s.StaleServed += n[string(pullchain.CacheStale)]
		s.Hits += n[string(pullchain.CacheHit)] + n[string(pullchain.CacheCoalesced)] + n[string(pullchain.CacheStale)]
		s.Misses += n[string(pullchain.CacheMiss)] + n[string(pullchain.CacheBypass)]
	}
	if all := s.Hits + s.Misses; all > 0 {
		s.HitRatio = float64(s.Hits) / float64(all)
	}
	return s
}

// results are what a request can come to, in the order of the counters.
var results = [...]pullchain.CacheResult{
	pullchain.CacheHit, pullchain.CacheMiss, pullchain.CacheCoalesced, pullchain.CacheStale, pullchain.CacheBypass, resultError,
}

// resultError counts requests that failed.
const resultError pullchain.CacheResult = "error"

// counters count answers. They are safe for concurrent use.
type counters struct {
	requests [pullchain.Referrers + 1][len(results)]atomic.Uint64
	saved    atomic.Int64 // bytes of bodies that no upstream had to send

	mu    sync.Mutex
	stale map[Stale]uint64 // keys with N = 0: names of the configuration and codes
}

func (n *counters) add(op pullchain.Op, result pullchain.CacheResult) {
	for i, r := range results {
		if r == result && int(op) < len(n.requests) {
			n.requests[op][i].Add(1)
			return
		}
	}
}

func (n *counters) failed(req pullchain.Request) { n.add(req.Op, resultError) }

func (n *counters) served(req pullchain.Request, resp pullchain.Response) {
	n.add(req.Op, resp.Cache)
	if resp.Cache == pullchain.CacheStale {
		n.staleServed(Stale{Registry: req.Registry, Code: whyStale(resp.Attempts)})
	}
	if req.Head || resp.Cache == pullchain.CacheMiss || resp.Cache == pullchain.CacheBypass {
		return
	}
	size := resp.Size
	if resp.Status == 206 {
		size = resp.Range.To - resp.Range.From
	}
	n.saved.Add(max(size, 0))
}

func (n *counters) staleServed(of Stale) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stale == nil {
		n.stale = make(map[Stale]uint64)
	}
	n.stale[of]++
}

// staleBy returns what staleServed has counted, in an order that stays.
func (n *counters) staleBy() []Stale {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]Stale, 0, len(n.stale)) // and never null in JSON
	for s, count := range n.stale {
		s.N = count
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Stale) int { return cmp.Or(cmp.Compare(a.Registry, b.Registry), cmp.Compare(a.Code, b.Code)) })
	return out
}

// whyStale is the code of the first upstream that could not say; one that was not
// asked, as its gate was closed, counts where none was.
func whyStale(attempts []pullchain.Attempt) pullchain.Code {
	closed := pullchain.CodeNoUpstream
	for _, a := range attempts {
		switch {
		case a.Err != nil && a.Gate == "":
			return pullchain.CodeOf(a.Err)
		case a.Err != nil && closed == pullchain.CodeNoUpstream:
			closed = pullchain.CodeOf(a.Err)
		}
	}
	return closed
}

// total is how many requests have been answered.
func (n *counters) total() uint64 {
	var sum uint64
	for op := range n.requests {
		for result := range n.requests[op] {
			sum += n.requests[op][result].Load()
		}
	}
	return sum
}

func (n *counters) byKind() map[string]map[string]uint64 {
	kinds := make(map[string]map[string]uint64)
	for op := pullchain.Manifest; op <= pullchain.Referrers; op++ {
		counts := make(map[string]uint64)
		for i, r := range results {
			counts[string(r)] = n.requests[op][i].Load()
		}
		kinds[op.String()] = counts
	}
	return kinds
}

// A tagCount remembers for a while how many tags are recorded: to count them takes
// a look at every record.
type tagCount struct {
	mu    sync.Mutex
	until time.Time // the number stands
	tags  int
}

// The number of tags may be as old as this, or as many times as old as it took to
// count them.
const (
	countEvery = time.Second
	countTimes = 100
)

func (tt *tagTable) count() int {
	tt.counted.mu.Lock()
	defer tt.counted.mu.Unlock()
	began := time.Now()
	if began.Before(tt.counted.until) {
		return tt.counted.tags
	}
	names := make(map[string]bool)
	tt.all(func(key tagKey, _ digest.Digest) { names[key.image()] = true })
	now := time.Now()
	tt.counted.until, tt.counted.tags = now.Add(max(countEvery, countTimes*now.Sub(began))), len(names)
	return tt.counted.tags
}
