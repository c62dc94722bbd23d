// Package traffic remembers what clients asked for and what they got: counts and
// times for metrics, the requests under way, the last ones that are over with every
// attempt behind them, pulls, which are what people think in, and the clients.
//
// A [Journal] is fed by the data plane and read by the operator's. Feeding it costs a
// short hold of one mutex at the beginning and at the end of a request, and nothing
// ever waits for a reader. It has no goroutine and does no I/O, and knows upstreams by
// their names only.
//
// Its memory is bounded: 1.7 MB for a team's day of pulls, and 60 MB if every text, list
// and table is at its limit, which takes thousands of failures of many upstreams in a
// row (traffic.TestMemoryIsBounded measures both).
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
	Refusals Refusals // of requests that got no slot

	mu         sync.Mutex
	registries map[string]*registry
	inFlight   [numKinds]int
	flights    *Flight // those under way, in a list
	families   map[familyKey]*familyCount
	recent     recent
	clients    clients

	pulls    []*pull // live ones, the oldest first
	oldPulls ring[*Pull]
	lastPull pullNo
	contents int // of all live pulls together
	swept    time.Time

	changes uint64
	wake    chan struct{} // is closed at the next change; nil if no reader waits
	ticked  time.Time     // when bytes that flow were last a change

	// Traceparents says that a reader wants to know of which span of its client a request
	// is a part. Until then the front does not look for it.
	Traceparents atomic.Bool
}

// New returns an empty Journal.
func New() *Journal {
	return &Journal{
		registries: map[string]*registry{},
		families:   map[familyKey]*familyCount{},
		recent:     newRecent(),
		clients:    clients{byKey: map[clientKey]*client{}},
		oldPulls:   ring[*Pull]{n: recentPulls},
		// IDs of another process, which a person may have noted, name nothing here.
		lastPull: pullNo(time.Now().Unix()) << 16,
	}
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
	client     *client
	pull       *pull   // nil if it belongs to none
	source     *source // nil before Answered
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

	Traceparent string // the client's header of that name, if [Journal].Traceparents wants it

	Response *pullchain.Response // what the chain gave; nil if it failed
}

// A source is where the content of an answer comes from that is being sent.
type source struct {
	cache    pullchain.CacheResult
	upstream string
}

// Begin takes note of a request that is for a registry's content.
func (j *Journal) Begin(f *Flight) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f.client = j.clients.see(f)
	if last := f.client.registry; last != nil && last.name == f.Request.Registry {
		f.registry = last
	} else {
		f.registry = j.registryLocked(f.Request.Registry)
		f.client.registry = f.registry
	}
	f.kind = kind(f.Request.Op)
	j.inFlight[f.kind]++
	if f.next = j.flights; f.next != nil {
		f.next.prev = f
	}
	j.flights = f
	if f.At.Sub(j.swept) >= sweepEvery {
		j.sweepLocked(f.At)
	}
	j.joinLocked(f)
	j.changedLocked()
}

// Answered says that content is about to be sent, and where it comes from.
func (j *Journal) Answered(f *Flight, cache pullchain.CacheResult, upstream string) {
	from := &source{cache, upstream}
	j.mu.Lock()
	defer j.mu.Unlock()
	f.source = from
}

// End takes note of how a request ended, whether it was begun or not.
func (j *Journal) End(f *Flight, o *Outcome) {
	now := f.At.Add(o.Took)
	m := newMore(f, o)
	j.mu.Lock()
	defer j.mu.Unlock()
	r := f.registry
	if r != nil {
		j.landLocked(f)
	} else {
		r = j.registryLocked("")
		f.client = j.clients.see(f)
		if o.Ping {
			f.kind = kindPing
		}
	}
	l := labels{f.kind, methodIndex(o.Method), cacheIndex(o.Cache)}
	r.count(l, o)
	if f.registry != nil && !o.Failed && o.Status < 400 {
		r.serve(servedKey{o.Upstream, f.Request.Class()}, now)
	}
	if f.registry != nil {
		r.judge(f, o, now)
	}
	j.countFamilyLocked(f, o, now)
	f.client.count(f, o, now)
	if m != nil && m.resumes > 0 {
		r.resumes.N += uint64(m.resumes)
		r.resumes.Bytes += m.resumed
	}
	if f.pull != nil {
		j.endPullLocked(f, o, m.orNothing(), l, now)
	}
	j.recent.add(f, o, r, l, m)
	j.changedLocked()
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
	n := f.client.counted
	if n == nil || f.client.countedForm != f.Form {
		key := familyKey{f.Family, f.Form}
		if n = j.families[key]; n == nil {
			n = new(familyCount)
			j.families[key] = n
		}
		f.client.counted, f.client.countedForm = n, f.Form
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
