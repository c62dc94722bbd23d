package upstreams

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain"
)

// facts is what the origin's answers have told in passing.
type facts struct {
	mu      sync.Mutex
	last    pullchain.Facts
	dialled []dialledAt
}

// A dialledAt is an address that was dialled.
type dialledAt struct {
	ip string
	at time.Time
}

// How many addresses are remembered, and how long one is that is not dialled again: a
// name has several as a rule, and others tomorrow.
const (
	addressesKept = 4
	addressFor    = time.Hour
)

// dialled notes an address that was dialled for the upstream's own host, or for its
// proxy. It is called for each connection, not for each request.
func (u *Upstream) dialled(target, ip string) {
	if target != hostPort(u.origin) && slices.Contains(u.cfg.trustedRealms(), target) {
		return // a token server that has been typed
	}
	f, now := &u.facts, time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dialled = slices.DeleteFunc(f.dialled, func(d dialledAt) bool { return d.ip == ip || now.Sub(d.at) > addressFor })
	f.dialled = slices.Insert(f.dialled, 0, dialledAt{ip, now})
	f.dialled = f.dialled[:min(len(f.dialled), addressesKept)]
	f.last.Addresses = make([]string, 0, len(f.dialled)) // anew: the old one is in readers' hands
	for _, d := range f.dialled {
		f.last.Addresses = append(f.last.Addresses, d.ip)
	}
}

// blobAt notes to which host a redirect for a blob has led.
func (f *facts) blobAt(host string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last.Blobs.Host != host {
		f.last.Blobs = pullchain.BlobFacts{Host: host}
	}
}

// noteBlobFailed notes that a blob has failed at the host to which its redirect led. What is
// not there, and a client that went away, is no failure of that host.
func noteBlobFailed(a *attempt, e *pullchain.Error) {
	if a.req.Op != pullchain.Blob || !a.offOrigin || a.blobHost == "" {
		return
	}
	switch e.Reason {
	case pullchain.NotFound, pullchain.Canceled, pullchain.Invalid, pullchain.Egress:
		return
	}
	f := &a.u.facts
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last.Blobs = pullchain.BlobFacts{Host: a.blobHost, Failed: time.Now(), Code: e.Code}
}

// noteBlobCame notes that a blob has come to its end.
func noteBlobCame(a *attempt) {
	if a.req.Op != pullchain.Blob || !a.offOrigin {
		return
	}
	f := &a.u.facts
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last.Blobs.Failed, f.last.Blobs.Code = time.Time{}, ""
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
	f := u.facts.last
	f.HeldBack = u.bounds.held()
	return f
}

// registrySeen is when the upstream's own host last answered as only a registry does.
type registrySeen struct{ at atomic.Int64 }

// seenFor is how long that counts as a sign that a bare 404 is a registry's
// (docs/faults.md 0.5).
const seenFor = time.Hour

func (s *registrySeen) now() { s.at.Store(time.Now().UnixNano()) }

// lately is false for a time to come, too: the clock has been set back since.
func (s *registrySeen) lately() bool {
	age := time.Since(time.Unix(0, s.at.Load()))
	return age >= 0 && age < seenFor
}

// isVersioned reports whether an answer has the mark of a registry that
// distribution-spec names. Several send none.
func isVersioned(h http.Header) bool {
	return strings.HasPrefix(h.Get("Docker-Distribution-Api-Version"), "registry/")
}
