package balancer

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"time"

	"github.com/pullchain/pullchain"
)

// Strategy is how a chain orders the lanes that may be asked: what Envoy calls the
// load balancing policy and HAProxy the balance algorithm.
type Strategy string

// The strategies.
const (
	Ordered Strategy = "ordered" // as configured
	Fastest Strategy = "fastest" // least expected wait, with hysteresis
	Spread  Strategy = "spread"  // by rendezvous hash of the content, so that mirrors' caches stay warm
)

// ParseStrategy returns the strategy that s names. The words of Clash are read
// as ours: fallback, url-test, load-balance. The empty string is Ordered.
func ParseStrategy(s string) (Strategy, error) {
	switch s {
	case "", "ordered", "fallback":
		return Ordered, nil
	case "fastest", "url-test":
		return Fastest, nil
	case "spread", "load-balance":
		return Spread, nil
	}
	return "", fmt.Errorf("%q is none of ordered, fastest, spread", s)
}

// A candidate is what the order of lanes is decided by: a lane whose gates all
// stand open, as plain values.
type candidate struct {
	name       string
	index      int           // in the configuration
	place      int           // in the order that the operator wants: index, unless that was changed
	pinned     bool          // the operator wants it asked first
	gave       bool          // it has the login that the request asks about
	wait       time.Duration // expected to first byte; 0 when nothing is known
	inFlight   int
	full       bool // at its limit of connections
	weight     float64
	metered    bool
	held       bool // has yet to prove itself since it was last in trouble
	slow       bool // was outrun by others for such requests, again and again
	host       string
	account    string // whose quota counted requests are taken from, at host
	left       int    // of that
	quotaLow   bool
	noRange    bool // cannot do what a ranged request needs
	backingOff bool // has lately failed a speculative request
}

// maySpeculate reports whether c may be sent a speculative request, which only makes
// faster what others fetch already: where that costs nothing, and where it can.
func (c candidate) maySpeculate() bool { return !c.metered && !c.full && !c.noRange && !c.backingOff }

// comesFirst reports whether the operator has pinned c, and c can take one more request
// now: a pin is not worth a wait for a connection that others need not wait for.
func (c candidate) comesFirst() bool { return c.pinned && !c.full }

// hysteresis is how much better another lane must be before the fastest one is
// left for it. Without it two lanes that are alike would take turns by chance, and
// neither's cache or connections would stay warm.
const hysteresis = 0.8

// order returns the candidates in the order in which to ask them; those that
// may not be asked by a speculative request are left out of its. It is pure: leader
// is the lane that the last request of this class was sent to, which "fastest"
// leaves only for one that is a fifth faster.
func order(strategy Strategy, req pullchain.Request, lanes []candidate, leader string) []candidate {
	out := slices.Clone(lanes)
	if req.Options.Speculative {
		out = slices.DeleteFunc(out, func(c candidate) bool { return !c.maySpeculate() })
	}
	rank := rankOf(req)
	if counted(req) {
		shareOut(out, rank)
	}
	score := func(c candidate) float64 { return float64(c.place) }
	switch strategy {
	case Fastest:
		score = func(c candidate) float64 { return fastestScore(c, leader) }
	case Spread:
		key := spreadKey(req)
		score = func(c candidate) float64 { return -rendezvous(key, c) }
	}
	slices.SortStableFunc(out, func(a, b candidate) int {
		return cmp.Or(rank(a, b), cmp.Compare(score(a), score(b)), cmp.Compare(a.place, b.place))
	})
	return out
}

// rankOf returns what counts for req before the strategy does.
func rankOf(req pullchain.Request) func(a, b candidate) int {
	avoided := func(c candidate) bool { return slices.Contains(req.Options.Avoid, c.name) }
	return func(a, b candidate) int {
		return cmp.Or(
			compareBool(avoided(a), avoided(b)),
			compareBool(a.noRange && !req.Range.Whole(), b.noRange && !req.Range.Whole()),
			compareBool(!a.comesFirst(), !b.comesFirst()),
			compareBool(!a.gave || a.full, !b.gave || b.full),
			compareBool(a.held, b.held),
			compareBool(a.quotaLow && counted(req), b.quotaLow && counted(req)),
			compareBool(a.metered, b.metered),
			compareBool(a.slow, b.slow),
			compareBool(a.full, b.full),
		)
	}
}

// counted reports whether Docker Hub would count req as a pull: the GET of a
// manifest (docs/protocol.md 4.1).
func counted(req pullchain.Request) bool { return req.Op == pullchain.Manifest && !req.Head }

// fastestScore is the time a request may expect to wait: that of the past,
// times the requests that wait already, for its weight. A lane never tried scores zero,
// so that it is tried.
func fastestScore(c candidate, leader string) float64 {
	s := float64(c.wait) * float64(1+c.inFlight) / c.weight
	if c.name == leader {
		s *= hysteresis
	}
	return s
}

// spreadKey is what a request is spread by: the content, so that each mirror
// sees the same content again.
func spreadKey(req pullchain.Request) string {
	if req.Digest != "" {
		return req.Digest.String()
	}
	return req.Repo + ":" + req.Tag
}

// rendezvous is the weighted highest-random-weight score of c for key
// (Thaler and Ravishankar 1998; weights by -w/ln(h)).
func rendezvous(key string, c candidate) float64 {
	h := fnv.New64a()
	h.Write([]byte(key))
	h.Write([]byte{0})
	h.Write([]byte(c.name))
	unit := (float64(mix(h.Sum64())>>11) + 0.5) / (1 << 53)
	return -c.weight / math.Log(unit)
}

// mix finishes FNV, whose high bits hardly depend on the last bytes written
// (the finaliser of MurmurHash3).
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// compareBool sorts false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
