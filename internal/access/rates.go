package access

import (
	"net/netip"
	"time"

	"golang.org/x/time/rate"
)

// clientsKept is how many clients' buckets are remembered: 4 MB. What is forgotten has a
// full one, so that more clients than that are held to less.
const clientsKept = 16384

// rates are a bucket of tokens for each client. They are safe for concurrent use.
type rates struct {
	limit   rate.Limit
	burst   int
	buckets *recent[netip.Addr, *rate.Limiter]
}

func newRates(limit float64, burst int) *rates {
	full := time.Duration(float64(burst) / limit * float64(time.Second)) // after that a bucket is as a new one
	return &rates{rate.Limit(limit), burst, newRecent[netip.Addr, *rate.Limiter](clientsKept, full)}
}

// take takes a token of a client. If there is none, nothing is taken, and it returns how
// long it will be until there is one.
func (r *rates) take(client netip.Addr, now time.Time) time.Duration {
	bucket := r.buckets.getOrAdd(client, now, func() *rate.Limiter { return rate.NewLimiter(r.limit, r.burst) })
	if bucket.AllowN(now, 1) {
		return 0
	}
	missing := 1 - bucket.TokensAt(now)
	return max(time.Millisecond, time.Duration(missing/float64(r.limit)*float64(time.Second)))
}
