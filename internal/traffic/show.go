package traffic

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/pullchain/pullchain"
)

// A rate is what bytes per second are worked out from: how many there were when the
// pull was looked at before.
type rate struct {
	samples [8]sample // the newest last
}

type sample struct {
	at    time.Time
	bytes int64
}

// Looks that are closer together than rateStep are one, and those older than
// rateWindow say nothing of now.
const (
	rateStep   = 500 * time.Millisecond
	rateWindow = 5 * time.Second
)

// of returns bytes per second lately. The first look has the time since began to go by.
func (r *rate) of(began, now time.Time, bytes int64) int64 {
	from := sample{at: began}
	for _, s := range r.samples {
		if s.at.IsZero() {
			continue
		}
		from = s
		if now.Sub(s.at) <= rateWindow {
			break
		}
	}
	if last := r.samples[len(r.samples)-1]; now.Sub(last.at) >= rateStep {
		copy(r.samples[:], r.samples[1:])
		r.samples[len(r.samples)-1] = sample{now, bytes}
	}
	if over := now.Sub(from.at); over > 0 {
		return max(0, int64(float64(bytes-from.bytes)/over.Seconds()))
	}
	return 0
}

// show returns p as a plain value. flights are those of it that are under way.
func (p *pull) show(flights []*Flight, now time.Time) Pull {
	s := p.shown
	s.State, s.InFlight = p.state, p.inFlight
	s.Upstreams = append([]string{}, s.Upstreams...)
	s.Cache = map[string]int{}
	for i, n := range p.cache {
		if n > 0 {
			s.Cache[cacheWord(uint8(i))] = n
		}
	}
	s.Requests, s.Contents = []Request{}, p.showContents(flights)
	for _, f := range flights {
		s.Bytes += f.sent.Load()
		if from := f.source; from != nil && from.upstream != "" && !slices.Contains(s.Upstreams, from.upstream) {
			s.Upstreams = append(s.Upstreams, from.upstream)
		}
	}
	if p.inFlight > 0 {
		s.RateBPS = p.rate.of(s.Started, now, s.Bytes)
	}
	return s
}

// showContents returns configs and layers, those under way first, then by size.
func (p *pull) showContents(flights []*Flight) []Content {
	all := make(map[string]*Content, len(p.contents))
	for digest, c := range p.contents {
		all[digest] = &Content{
			Digest: digest, Layer: c.layer, Size: max(c.size, 0), Sent: c.sent, Done: c.done, Upstream: c.upstream, Cache: string(c.cache),
		}
	}
	for _, f := range flights {
		if f.kind != kind(pullchain.Blob) {
			continue
		}
		digest := string(f.Request.Digest)
		c := all[digest]
		if c == nil {
			c = &Content{Digest: digest}
			all[digest] = c
		}
		c.Active = true
		c.Sent += f.sent.Load()
		if f.source != nil {
			c.Upstream, c.Cache = f.source.upstream, string(f.source.cache)
		}
	}
	out := make([]Content, 0, len(all))
	for _, c := range all {
		if c.Size > 0 {
			c.Sent = min(c.Sent, c.Size) // a part may have been asked for twice
		}
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Content) int {
		return cmp.Or(cmp.Compare(bit(b.Active), bit(a.Active)), cmp.Compare(b.Size, a.Size), cmp.Compare(a.Digest, b.Digest))
	})
	return out
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// flightsLocked returns the requests under way, by their pulls.
func (j *Journal) flightsLocked() map[*pull][]*Flight {
	flights := map[*pull][]*Flight{}
	for f := j.flights; f != nil; f = f.next {
		if f.pull != nil {
			flights[f.pull] = append(flights[f.pull], f)
		}
	}
	return flights
}

// Pulls returns the pulls that are active or were a minute ago, and those before them,
// each with the newest first and without their requests.
func (j *Journal) Pulls() (active, recent []Pull) {
	now := time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sweepLocked(now)
	active, recent = []Pull{}, []Pull{}
	flights := j.flightsLocked()
	for _, p := range slices.Backward(j.pulls) {
		active = append(active, p.show(flights[p], now))
	}
	for _, p := range j.oldPulls.newest() {
		recent = append(recent, p.copy())
	}
	return active, recent
}

// copy returns a Pull that shares nothing with p that its reader could change.
func (p *Pull) copy() Pull {
	c := *p
	c.Cache, c.Upstreams, c.Contents, c.Requests = maps.Clone(p.Cache), slices.Clone(p.Upstreams), slices.Clone(p.Contents), []Request{}
	return c
}

// Pull returns the pull with that ID, with those of its requests that are still known.
func (j *Journal) Pull(id string) (Pull, bool) {
	active, recent := j.Pulls()
	for _, p := range append(active, recent...) {
		if p.ID == id {
			p.Requests = j.Requests(RequestFilter{Pull: id})
			slices.Reverse(p.Requests)
			return p, true
		}
	}
	return Pull{}, false
}

// Names reports whether what a person typed names the image that is pulled, by tag or
// by digest.
func (p *Pull) Names(typed string) bool {
	return Named(typed, p.Image()) || p.Digest != "" && Named(typed, imageName(p.Registry, p.Repo, p.Digest))
}
