// Package traffic remembers what clients asked for and what they got: counts and
// times for metrics, the requests under way, the last ones that are over with every
// attempt behind them, pulls, which are what people think in, and the clients.
//
// A [Journal] is fed by the data plane and read by the operator's. Feeding it costs a
// short hold of one mutex at the beginning and at the end of a request, and nothing
// ever waits for a reader. It has no goroutine and does no I/O, and knows upstreams by
// their names only.
package traffic

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain"
)

// A Journal is what is remembered. Make one with [New]; it is safe for concurrent use.
type Journal struct {
	mu         sync.Mutex
	registries map[string]*registry
	inFlight   [numKinds]int
	flights    *Flight // those under way, in a list
	families   map[familyKey]*familyCount
}

// New returns an empty Journal.
func New() *Journal {
	return &Journal{registries: map[string]*registry{}, families: map[familyKey]*familyCount{}}
}

// A familyKey is what clients are counted by.
type familyKey struct{ family, form string }

type familyCount struct {
	requests, errors uint64
	last             time.Time
}

// A Flight is a request from its beginning to its end. Its exported fields are set
// before it is handed over and not changed until [Journal.End]; it belongs to one
// goroutine.
type Flight struct {
	ID      uint64
	At      time.Time // when the request came
	Addr    netip.Addr
	Family  string             // one of a few words for what the client is
	Form    string             // one of a few words for how it named the registry; empty if it named none
	Request *pullchain.Request // nil if there is none that makes sense

	registry   *registry // nil before Begin
	kind       kind
	answered   bool
	cache      pullchain.CacheResult // set if answered
	upstream   string                // set if answered
	sent       atomic.Int64
	prev, next *Flight // guarded by Journal.mu, as all fields from registry on but sent
}

// Sent says how many bytes of the body have gone out so far.
func (f *Flight) Sent(n int64) { f.sent.Store(n) }

// An Outcome is how a request ended.
type Outcome struct {
	Method    string
	UserAgent string
	Ping      bool // it was the version check

	Status   int // what the client got; 499 if it went away
	Bytes    int64
	TTFB     time.Duration
	Took     time.Duration
	Cache    pullchain.CacheResult
	Upstream string // whose word the answer is
	Attempts []Attempt
	Range    string // that was asked for; empty: the whole
	Failed   bool   // an error, or an answer that was cut; not that the client went away
	Gone     bool   // the client went away
	Code     pullchain.Code
	Error    string // what is behind Code

	Response *pullchain.Response // what the chain gave; nil if it failed
}

// Begin takes note of a request that is for a registry's content.
func (j *Journal) Begin(f *Flight) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f.kind, f.registry = kind(f.Request.Op), j.registryLocked(f.Request.Registry)
	j.inFlight[f.kind]++
	if f.next = j.flights; f.next != nil {
		f.next.prev = f
	}
	j.flights = f
}

// Answered says that content is about to be sent, and where it comes from.
func (j *Journal) Answered(f *Flight, cache pullchain.CacheResult, upstream string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f.answered, f.cache, f.upstream = true, cache, upstream
}

// End takes note of how a request ended, whether it was begun or not.
func (j *Journal) End(f *Flight, o *Outcome) {
	now := f.At.Add(o.Took)
	j.mu.Lock()
	defer j.mu.Unlock()
	r := f.registry
	if r != nil {
		j.landLocked(f)
	} else {
		r = j.registryLocked("")
		if o.Ping {
			f.kind = kindPing
		}
	}
	r.count(f.kind, methodIndex(o.Method), o)
	if f.registry != nil && !o.Failed && o.Status < 400 {
		r.serve(servedKey{o.Upstream, f.Request.Class()}, now)
	}
	j.countFamilyLocked(f, o, now)
}

// landLocked takes a flight off the list.
func (j *Journal) landLocked(f *Flight) {
	j.inFlight[f.kind]--
	if f.next != nil {
		f.next.prev = f.prev
	}
	if f.prev != nil {
		f.prev.next = f.next
	} else {
		j.flights = f.next
	}
	f.prev, f.next = nil, nil
}

// registryLocked returns the counts of a registry, which is one of the configuration's.
func (j *Journal) registryLocked(name string) *registry {
	r := j.registries[name]
	if r == nil {
		r = &registry{name: name, requests: map[countKey]uint64{}, served: map[servedKey]*minutes{}}
		r.resumes.Registry, r.pulls.Registry = name, name
		j.registries[name] = r
	}
	return r
}

func (j *Journal) countFamilyLocked(f *Flight, o *Outcome, now time.Time) {
	key := familyKey{f.Family, f.Form}
	n := j.families[key]
	if n == nil {
		n = new(familyCount)
		j.families[key] = n
	}
	n.requests++
	if o.Failed {
		n.errors++
	}
	n.last = now
}

// imageName is the name that a person would type.
func imageName(registry, repo, reference string) string {
	name := registry
	if repo != "" {
		name += "/" + repo
	}
	switch {
	case reference == "":
		return name
	case isDigest(reference):
		return name + "@" + reference
	}
	return name + ":" + reference
}

// isDigest tells a digest from a tag, which has no colon.
func isDigest(reference string) bool {
	for i := range len(reference) {
		if reference[i] == ':' {
			return true
		}
	}
	return false
}
