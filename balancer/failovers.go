package balancer

import (
	"slices"
	"sync"
	"time"

	"github.com/pullchain/pullchain"
)

// A Failover is one request that another upstream answered than the first one
// asked, for people to read.
type Failover struct {
	At       time.Time      `json:"at"`
	Registry string         `json:"registry"`
	From     string         `json:"from"`
	To       string         `json:"to"`
	Phase    string         `json:"phase"` // manifest, blob_start, blob_mid
	Code     pullchain.Code `json:"code"`
	Offset   int64          `json:"offset"`
	AddedMS  int64          `json:"added_ms"` // between the first try and the one that served
	Image    string         `json:"image"`
}

// failoversKept is how many of the last failovers are remembered.
const failoversKept = 100

// A failoverLog holds the last failovers. It is safe for concurrent use.
type failoverLog struct {
	mu   sync.Mutex
	last []Failover
	n    uint64
}

// recordFailover adds the failover that t tells of, if it does. A request that
// was to help others is none, whoever answered it.
func (b *Balancer) recordFailover(req pullchain.Request, t *trail, to *Lane) {
	first, ok := t.firstFailure(to)
	if !ok && !t.resumed() {
		first, ok = b.replaced(req, to)
	}
	if !ok || req.Options.Speculative {
		return
	}
	b.failovers.add(Failover{
		At: time.Now(), Registry: b.registry, From: first.Upstream, To: to.Name(), Phase: phase(req, t),
		Code: pullchain.CodeOf(first.Err), Offset: max(req.Range.From, 0), Image: req.Image(),
		AddedMS: max(t.lastStart().Sub(first.Start), 0).Milliseconds(),
	})
}

// replaced returns what req makes good, if to answers it in the place of a lane
// that is to be avoided for the wrong bytes it has sent.
func (b *Balancer) replaced(req pullchain.Request, to *Lane) (pullchain.Attempt, bool) {
	now := time.Now()
	for _, name := range req.Options.Avoid {
		if l := b.lane(name); l != nil && l != to {
			if cause := l.quarantinedFor(now); cause != nil {
				return pullchain.Attempt{Upstream: name, Start: now, Err: cause}, true
			}
		}
	}
	return pullchain.Attempt{}, false
}

func (f *failoverLog) add(e Failover) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	f.last = append(f.last, e)
	if len(f.last) > failoversKept {
		f.last = slices.Delete(f.last, 0, len(f.last)-failoversKept)
	}
}

func phase(req pullchain.Request, t *trail) string {
	switch {
	case req.Op != pullchain.Blob:
		return "manifest"
	case req.Range.From > 0 && t.resumed():
		return "blob_mid"
	}
	return "blob_start"
}

// recentFirst returns the remembered failovers, the newest first, and how many
// there were in all.
func (f *failoverLog) recentFirst() ([]Failover, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := slices.Clone(f.last)
	slices.Reverse(out)
	return out, f.n
}
