package upstreams

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain"
)

// facts is what the origin's answers have told in passing.
type facts struct {
	mu   sync.Mutex
	last pullchain.Facts
}

// learn reads an answer of the upstream's own origin. A CDN's clock and certificate
// are not the registry's, and it knows no quota.
func (a *attempt) learn(resp *http.Response) {
	if isVersioned(resp.Header) {
		a.u.seen.now()
	}
	f, now := &a.u.facts, time.Now()
	quota := a.quota(resp.Header, now)
	f.mu.Lock()
	defer f.mu.Unlock()
	if quota != nil {
		f.last.Quota = quota
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		f.last.Skew = skew(date, now)
	}
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		leaf := resp.TLS.PeerCertificates[0]
		f.last.TLSExpiry, f.last.TLSIssuer = leaf.NotAfter, leaf.Issuer.CommonName
	}
}

// skew is how far the far end's clock is ahead of ours. Date has whole seconds
// and the answer took a while, so less than two seconds is none.
func skew(date, now time.Time) time.Duration {
	d := date.Sub(now)
	if d.Abs() < 2*time.Second {
		return 0
	}
	return d.Round(time.Second)
}

// Facts returns what has been learnt of the far end so far.
func (u *Upstream) Facts() pullchain.Facts {
	u.facts.mu.Lock()
	defer u.facts.mu.Unlock()
	return u.facts.last
}

// registrySeen is when the upstream's own host last answered as only a registry does.
type registrySeen struct{ at atomic.Int64 }

// seenFor is how long that counts as a sign that a bare 404 is a registry's
// (docs/faults.md 0.5).
const seenFor = time.Hour

func (s *registrySeen) now() { s.at.Store(time.Now().UnixNano()) }

func (s *registrySeen) lately() bool { return time.Since(time.Unix(0, s.at.Load())) < seenFor }

// isVersioned reports whether an answer has the mark of a registry that
// distribution-spec names. Several send none.
func isVersioned(h http.Header) bool {
	return strings.HasPrefix(h.Get("Docker-Distribution-Api-Version"), "registry/")
}
