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

// record adds the failover that t tells of, if it does. A lane that was not
// asked because its gate is shut is no failover: that one was told before.
func (f *failoverLog) record(registry string, req pullchain.Request, t *trail, to *Lane) {
	var first pullchain.Attempt
	for _, a := range t.recent() {
		if a.Err != nil && a.Gate == "" && a.Upstream != to.Name() {
			first = a
			break
		}
	}
	if first.Upstream == "" {
		return
	}
	e := Failover{
		At: time.Now(), Registry: registry, From: first.Upstream, To: to.Name(), Phase: phase(req, t),
		Code: pullchain.CodeOf(first.Err), Offset: max(req.Range.From, 0), Image: req.Image(),
		AddedMS: max(t.lastStart().Sub(first.Start), 0).Milliseconds(),
	}
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
