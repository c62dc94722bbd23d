package traffic

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// How many requests that are over are remembered.
const (
	recentKept    = 2000 // of all
	troubledKept  = 500  // failed or degraded: they are asked about when many others have come since
	upstreamKept  = 20   // of each upstream that took part
	upstreamsKept = 200  // so many upstreams, more than a configuration has
)

// A ring is the last n things. The zero ring of n 0 keeps none.
type ring[T any] struct {
	items []T
	total uint64 // that were ever added; the last one has this number, the first one has 1
	n     int
}

// slot returns the place for the next thing, with what was in it.
func (r *ring[T]) slot() *T {
	i := int(r.total % uint64(r.n))
	r.total++
	if i == len(r.items) {
		var none T
		r.items = append(r.items, none)
	}
	return &r.items[i]
}

func (r *ring[T]) add(t T) { *r.slot() = t }

// at returns the thing with that number, or nil if it has gone.
func (r *ring[T]) at(no uint64) *T {
	if no == 0 || no > r.total || no+uint64(r.n) <= r.total {
		return nil
	}
	return &r.items[(no-1)%uint64(r.n)]
}

// newest returns what is there, the newest first.
func (r *ring[T]) newest() []T {
	out := make([]T, 0, len(r.items))
	for no := r.total; r.at(no) != nil; no-- {
		out = append(out, *r.at(no))
	}
	return out
}

type upstreamKey struct{ registry, upstream string }

// recent are the requests that are over.
type recent struct {
	all       ring[entry]
	troubled  ring[*Request] // those for a registry's content
	upstreams map[upstreamKey]*ring[*Request]
}

func newRecent() recent {
	return recent{all: ring[entry]{n: recentKept}, troubled: ring[*Request]{n: troubledKept}, upstreams: map[upstreamKey]*ring[*Request]{}}
}

// add keeps a request that is over. Only one that an upstream took part in, or in which
// something was wrong, costs an allocation.
func (c *recent) add(f *Flight, o *Outcome, r *registry, l labels, m *more) {
	e := c.all.slot()
	e.set(f, o, r, l, m)
	if m == nil && !o.Failed {
		return
	}
	m = m.orNothing()
	troubled := f.registry != nil && (o.Failed || m.degraded)
	if !troubled && len(m.attempts) == 0 {
		return
	}
	req := e.request()
	if troubled {
		c.troubled.add(&req)
	}
	for i, a := range m.attempts {
		if a.Gate != "" || slices.ContainsFunc(m.attempts[:i], func(b Attempt) bool { return b.Upstream == a.Upstream && b.Gate == "" }) {
			continue
		}
		if of := c.upstream(upstreamKey{req.Registry, a.Upstream}); of != nil {
			of.add(&req)
		}
	}
}

// upstream returns the ring of an upstream; nil if there are too many.
func (c *recent) upstream(key upstreamKey) *ring[*Request] {
	of := c.upstreams[key]
	if of == nil && len(c.upstreams) < upstreamsKept {
		of = &ring[*Request]{n: upstreamKept}
		c.upstreams[key] = of
	}
	return of
}

// Retain forgets the counts of registries, and the last requests of upstreams, that known
// does not report: after a reload, when no request for them comes any more. The upstream
// is empty where a registry is asked for.
func (j *Journal) Retain(known func(registry, upstream string) bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	maps.DeleteFunc(j.registries, func(name string, _ *registry) bool { return name != "" && !known(name, "") }) // "" is what names none
	maps.DeleteFunc(j.recent.upstreams, func(key upstreamKey, _ *ring[*Request]) bool { return !known(key.registry, key.upstream) })
}

// A RequestFilter says which requests are wanted; the zero value wants all.
type RequestFilter struct {
	Registry string
	Upstream string // that was asked, whether it served or not
	Client   string // a family or an address
	Image    string // as people type it: alpine:3.20, docker.io/library/alpine, ghcr.io/owner/app@sha256:…
	Pull     string // the ID of a pull
	Failed   bool   // only those that failed, and with Degraded those too
	Degraded bool   // only those that were degraded, and with Failed those too
	Limit    int    // 0: all
}

func (w *RequestFilter) wants(r *Request) bool {
	switch {
	case w.Registry != "" && w.Registry != r.Registry,
		w.Client != "" && w.Client != r.Client && w.Client != r.Addr,
		w.Image != "" && !Named(w.Image, r.Image()),
		w.Pull != "" && w.Pull != r.Pull,
		w.Upstream != "" && !slices.ContainsFunc(r.Attempts, func(a Attempt) bool { return a.Upstream == w.Upstream && a.Gate == "" }):
		return false
	case w.Failed || w.Degraded:
		return w.Failed && r.Failed || w.Degraded && r.Degraded
	}
	return true
}

// chunk is how many requests are read in one hold of the mutex: some 30 µs.
const chunk = 50

// Requests returns those that are over and still known, the newest first.
func (j *Journal) Requests(w RequestFilter) []Request {
	seen := map[string]bool{}
	out := []Request{}
	take := func(r Request) {
		if !seen[r.ID] && w.wants(&r) {
			seen[r.ID] = true
			out = append(out, r)
		}
	}
	for no := j.total(); no > 0 && (w.Limit == 0 || len(out) < w.Limit); {
		var some []Request
		if some, no = j.before(no); len(some) == 0 {
			break
		}
		for _, r := range some {
			take(r)
		}
	}
	for _, r := range j.kept() {
		take(*r)
	}
	slices.SortStableFunc(out, func(a, b Request) int { return b.At.Compare(a.At) })
	if w.Limit > 0 && len(out) > w.Limit {
		out = out[:w.Limit]
	}
	return out
}

// Request returns the request with that ID, if it is still known.
func (j *Journal) Request(id string) (Request, bool) {
	no, err := strconv.ParseUint(id, 36, 64)
	if err != nil {
		return Request{}, false
	}
	for _, r := range j.kept() {
		if r.ID == id {
			return *r, true
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range j.recent.all.items {
		if e := &j.recent.all.items[i]; e.id == no {
			return e.request(), true
		}
	}
	return Request{}, false
}

// kept returns the requests that are kept longer than others. They are never changed.
func (j *Journal) kept() []*Request {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := j.recent.troubled.newest()
	for _, of := range j.recent.upstreams {
		out = append(out, of.newest()...)
	}
	return out
}

// total returns the number of the last request that is over.
func (j *Journal) total() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.recent.all.total
}

// before returns some requests, from that number down, and the number to go on with.
func (j *Journal) before(no uint64) (some []Request, next uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for range chunk {
		e := j.recent.all.at(no)
		if e == nil {
			break
		}
		some = append(some, e.request())
		no--
	}
	return some, no
}

// Named reports whether what a person typed names an image: with or without the registry,
// docker.io's "library/", the tag or the digest, of which the beginning is enough.
func Named(typed, image string) bool {
	typed = strings.TrimPrefix(strings.TrimPrefix(typed, "https://"), "docker://")
	for _, prefix := range []string{"", "docker.io/", "docker.io/library/"} {
		rest, ok := strings.CutPrefix(image, prefix+typed)
		if !ok {
			continue
		}
		if rest == "" || rest[0] == ':' || rest[0] == '@' {
			return true
		}
		if _, sum, ok := strings.Cut(typed, "@"); ok && len(sum) >= len("sha256:")+6 {
			return true
		}
	}
	return false
}
