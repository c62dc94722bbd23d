package traffic

import (
	"maps"
	"net/netip"
	"sync"
	"time"
)

// Why a request got no slot.
type Why string

// The reasons.
const (
	AllTaken      Why = "all"    // as many are served as may be
	ClientHasMany Why = "client" // what is left is for clients that hold fewer
)

// A Refusal is a request that was not served, since as many were as may be.
type Refusal struct {
	Why    Why
	Client netip.Addr // of IPv6 the network
	Held   int        // requests that it had under way
	Taken  int        // requests that all had
	Max    int        // that may be
	At     time.Time
	Lately int // how many there were up to this one, none of them long after the one before
}

// refusalsLast is for how long a refusal is news.
const refusalsLast = 2 * time.Minute

// Refusals are what is remembered of refused requests: counts, and the last one. The zero
// value has none. It is safe for concurrent use.
type Refusals struct {
	mu    sync.Mutex
	byWhy map[Why]uint64
	last  Refusal
}

// Add takes note of a refused request.
func (f *Refusals) Add(r Refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byWhy == nil {
		f.byWhy = make(map[Why]uint64)
	}
	f.byWhy[r.Why]++
	r.Lately = 1
	if r.At.Sub(f.last.At) < refusalsLast {
		r.Lately += f.last.Lately
	}
	f.last = r
}

// Last returns the last refused request, or nil if there has been none lately.
func (f *Refusals) Last(now time.Time) *Refusal {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.last
	if last.At.IsZero() || now.Sub(last.At) >= refusalsLast {
		return nil
	}
	return &last
}

// counts returns how many there have been, those that have not happened with them: an
// alert looks for an increase.
func (f *Refusals) counts() map[Why]uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[Why]uint64{AllTaken: 0, ClientHasMany: 0}
	maps.Copy(all, f.byWhy)
	return all
}
