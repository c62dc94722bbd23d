package traffic

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/pullchain/pullchain"
)

// Counts are all figures since the start, for metrics. Their labels are bounded by
// the configuration and by the words of this package. What has not happened is not there.
type Counts struct {
	Requests []RequestCount
	Bytes    []ByteCount
	Timings  []Timing
	InFlight map[string]int // by kind; every kind of answer that may take long is there
	Refused  map[Why]uint64 // since as many were served as may be; every reason is there
	Clients  []ClientCount
	Resumes  []ResumeCount
	Pulls    []PullCount // registries of which nothing was pulled are not there
}

// A RequestCount counts requests that are over.
type RequestCount struct {
	Registry string // empty: the request named none that is served
	Kind     string
	Method   string // GET, HEAD or other
	Code     int    // 499: the client went away; 0: other
	Cache    string // a [pullchain.CacheResult], or none
	N        uint64
}

// A ByteCount counts bytes of bodies, those of answers under way with them.
type ByteCount struct {
	Registry string
	Kind     string
	Source   string // "cache", or "upstream" for what had to be fetched for a client
	N        int64
}

// A Timing is how long requests took.
type Timing struct {
	Registry string
	Kind     string
	Cache    string
	TTFB     Histogram // until the headers went out
	Duration Histogram // until all was over
}

// A Histogram counts durations in seconds. Counts has one more than Bounds, for what
// is above the last one; no count is in another.
type Histogram struct {
	Bounds []float64
	Counts []uint64
	Sum    float64
	Count  uint64
}

// A ClientCount counts requests of one family of clients in one form.
type ClientCount struct {
	Family string
	Form   string // empty: requests that are for no registry
	N      uint64
	Errors uint64
	Last   time.Time
}

// A ResumeCount counts blobs that another attempt went on with midway.
type ResumeCount struct {
	Registry string
	N        uint64
	Bytes    int64 // that had been fetched before, and were not again
}

// A PullCount counts pulls of a registry.
type PullCount struct {
	Registry string
	Active   int
	Done     uint64
	Failed   uint64
}

// bounds are those of every Histogram: a warm answer takes a fraction of the first,
// a large layer over a slow line more than the last.
var bounds = [...]float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300}

// limits are the bounds as durations.
var limits = func() (limits [len(bounds)]time.Duration) {
	for i, s := range bounds {
		limits[i] = time.Duration(s * float64(time.Second))
	}
	return limits
}()

// A histogram counts durations; an array, so that one more costs no allocation.
type histogram struct {
	counts [len(bounds) + 1]uint64
	sum    time.Duration
}

func (h *histogram) add(d time.Duration) {
	i := 0
	for i < len(limits) && d > limits[i] {
		i++
	}
	h.counts[i]++
	h.sum += d
}

func (h *histogram) export() Histogram {
	out := Histogram{Bounds: bounds[:], Counts: slices.Clone(h.counts[:]), Sum: h.sum.Seconds()}
	for _, n := range h.counts {
		out.Count += n
	}
	return out
}

// A kind is what was asked for; a [pullchain.Op], or one of the two beyond.
type kind uint8

const (
	kindOther = kind(0) // nothing that can be read
	kindPing  = kind(pullchain.Referrers + 1)
	numKinds  = kindPing + 1
)

func (k kind) String() string {
	switch k {
	case kindOther:
		return "other"
	case kindPing:
		return "ping"
	}
	return pullchain.Op(k).String()
}

// caches are the words for what the cache had to do with an answer, by their index
// in counts.
var caches = [...]pullchain.CacheResult{"", pullchain.CacheHit, pullchain.CacheMiss, pullchain.CacheCoalesced, pullchain.CacheStale, pullchain.CacheBypass}

func cacheIndex(c pullchain.CacheResult) uint8 {
	return uint8(max(0, slices.Index(caches[:], c)))
}

func cacheWord(i uint8) string {
	return cmp.Or(string(caches[i]), "none")
}

// fromCache reports whether the bytes of such an answer were here, or were on their way
// for another request.
func fromCache(c pullchain.CacheResult) bool {
	return c == pullchain.CacheHit || c == pullchain.CacheStale || c == pullchain.CacheCoalesced
}

// methods are the words for methods, by their index in counts.
var methods = [...]string{"other", "GET", "HEAD"}

func methodIndex(method string) uint8 {
	return uint8(max(0, slices.Index(methods[:], method)))
}

// Labels are those of a count within a registry, as indexes.
type labels struct {
	kind   kind
	method uint8
	cache  uint8
}

// commonCodes are the statuses of nearly all answers: they are counted without a map.
var commonCodes = [...]int{200, 206, 304}

func commonCode(code int) int {
	switch code {
	case 200:
		return 0
	case 206:
		return 1
	case 304:
		return 2
	}
	return -1
}

// A countKey is labels and a status, packed for a map.
type countKey uint32

func newCountKey(l labels, code int) countKey {
	if code < 100 || code > 599 {
		code = 0
	}
	return countKey(l.kind)<<16 | countKey(l.method)<<14 | countKey(l.cache)<<10 | countKey(code)
}

func (c countKey) unpack() (l labels, code int) {
	return labels{kind(c >> 16), uint8(c>>14) & 3, uint8(c>>10) & 15}, int(c & 1023)
}

// A registry is the counts of one registry.
type registry struct {
	name     string
	common   [numKinds][len(methods)][len(caches)][len(commonCodes)]uint64
	requests map[countKey]uint64 // those with other statuses
	bytes    [numKinds][2]int64  // from upstreams, and from the cache
	timings  [numKinds][len(caches)]*timing
	served   map[servedKey]*minutes
	resumes  ResumeCount
	pulls    PullCount
	failures *failures // nil if the last request for content went well
}

type timing struct{ ttfb, duration histogram }

// count counts one request that is over.
func (r *registry) count(l labels, o *Outcome) {
	if i := commonCode(o.Status); i >= 0 {
		r.common[l.kind][l.method][l.cache][i]++
	} else {
		r.requests[newCountKey(l, o.Status)]++
	}
	from := 0
	if fromCache(caches[l.cache]) {
		from = 1
	}
	r.bytes[l.kind][from] += o.Bytes
	t := r.timings[l.kind][l.cache]
	if t == nil {
		t = new(timing)
		r.timings[l.kind][l.cache] = t
	}
	t.ttfb.add(o.TTFB)
	t.duration.add(o.Took)
}

// Counts returns all figures as they stand.
func (j *Journal) Counts() Counts {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := Counts{InFlight: map[string]int{}, Refused: j.Refusals.counts()}
	for k := kind(pullchain.Manifest); k <= kind(pullchain.Referrers); k++ {
		c.InFlight[k.String()] = j.inFlight[k]
	}
	j.sweepLocked(time.Now())
	active := map[string]int{}
	for _, p := range j.pulls {
		if p.state == StateActive {
			active[p.shown.Registry]++
		}
	}
	for _, name := range sortedKeys(j.registries) {
		pulls := j.registries[name].pulls
		if pulls.Active = active[name]; pulls.Active > 0 || pulls.Done > 0 || pulls.Failed > 0 {
			c.Pulls = append(c.Pulls, pulls)
		}
		j.registries[name].export(&c, j.flyingLocked(name))
	}
	for key, n := range j.families {
		c.Clients = append(c.Clients, ClientCount{Family: key.family, Form: key.form, N: n.requests, Errors: n.errors, Last: n.last})
	}
	slices.SortFunc(c.Clients, func(a, b ClientCount) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Form, b.Form))
	})
	return c
}

// all returns the counts of requests.
func (r *registry) all() map[countKey]uint64 {
	all := maps.Clone(r.requests)
	for k := range numKinds {
		for m := range methods {
			for c := range caches {
				for i, n := range r.common[k][m][c] {
					if n > 0 {
						all[newCountKey(labels{k, uint8(m), uint8(c)}, commonCodes[i])] = n
					}
				}
			}
		}
	}
	return all
}

// export appends the counts of a registry. flying are the bytes of answers that are
// under way.
func (r *registry) export(c *Counts, flying [numKinds][2]int64) {
	all := r.all()
	for _, key := range sortedKeys(all) {
		l, code := key.unpack()
		c.Requests = append(c.Requests, RequestCount{
			Registry: r.name, Kind: l.kind.String(), Method: methods[l.method], Code: code, Cache: cacheWord(l.cache), N: all[key],
		})
	}
	for k := range numKinds {
		for from, source := range []string{"upstream", "cache"} {
			if n := r.bytes[k][from] + flying[k][from]; n > 0 {
				c.Bytes = append(c.Bytes, ByteCount{Registry: r.name, Kind: k.String(), Source: source, N: n})
			}
		}
		for cache, t := range r.timings[k] {
			if t != nil {
				c.Timings = append(c.Timings, Timing{
					Registry: r.name, Kind: k.String(), Cache: cacheWord(uint8(cache)), TTFB: t.ttfb.export(), Duration: t.duration.export(),
				})
			}
		}
	}
	if r.resumes.N > 0 {
		c.Resumes = append(c.Resumes, r.resumes)
	}
}

// flyingLocked sums the bytes that answers under way have sent, by kind and source.
func (j *Journal) flyingLocked(registry string) (sum [numKinds][2]int64) {
	for f := j.flights; f != nil; f = f.next {
		if f.registry.name != registry || f.source == nil {
			continue
		}
		from := 0
		if fromCache(f.source.cache) {
			from = 1
		}
		sum[f.kind][from] += f.sent.Load()
	}
	return sum
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// codeWord writes a status as a label.
func codeWord(code int) string {
	if code == 0 {
		return "other"
	}
	return strconv.Itoa(code)
}

// CodeWord is Code as a label: "200", or "other".
func (c RequestCount) CodeWord() string { return codeWord(c.Code) }
