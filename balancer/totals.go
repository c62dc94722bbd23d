package balancer

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain"
)

// Counts are what happened in a chain since the process began.
type Counts struct {
	Failovers      []FailoverCount
	FailoverAdded  map[string]Histogram // by phase: from the first try to the one that served
	Resumes        uint64               // bodies that went on from a lane in the middle
	ResumedBytes   int64                // that did not have to be sent a second time for it
	HedgesWon      uint64               // attempts beside another that kept waiting: this one answered first
	HedgesLost     uint64               // the other did
	HedgesFailed   uint64
	ExhaustedKinds []KindCount // requests that no lane could answer
}

// A FailoverCount counts the failovers from one lane to another.
type FailoverCount struct {
	From, To string
	Code     pullchain.Code
	Phase    string // see [Failover]
	N        uint64
}

// A KindCount counts requests of one kind.
type KindCount struct {
	Kind string // of pullchain.Op
	N    uint64
}

// The phases of a Failover.
const (
	phaseManifest  = "manifest"
	phaseBlobStart = "blob_start"
	phaseBlobMid   = "blob_mid"
)

// totals count what happens to the requests of a registry, over reloads. They are
// safe for concurrent use.
type totals struct {
	resumes      atomic.Uint64
	resumedBytes atomic.Int64
	won          atomic.Uint64
	lost         atomic.Uint64
	failed       atomic.Uint64
	exhausted    [pullchain.Referrers + 1]atomic.Uint64

	mu        sync.Mutex
	failovers map[failoverKey]uint64
	added     map[string]*tally // by phase
}

// A failoverKey has words of the configuration and codes, so there are not many.
type failoverKey struct {
	from, to string
	code     pullchain.Code
	phase    string
}

func newTotals() *totals {
	return &totals{
		failovers: map[failoverKey]uint64{},
		added:     map[string]*tally{phaseManifest: {}, phaseBlobStart: {}, phaseBlobMid: {}},
	}
}

func (t *totals) failover(f *Failover, added time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failovers[failoverKey{f.From, f.To, f.Code, f.Phase}]++
	t.added[f.Phase].add(failoverBounds, added)
}

// resumed counts a body that goes on at its byte at.
func (t *totals) resumed(at int64) {
	t.resumes.Add(1)
	t.resumedBytes.Add(max(at, 0))
}

// hedged counts the end of an attempt that was begun beside another.
func (t *totals) hedged(err error) {
	switch {
	case err == nil:
		t.won.Add(1)
	case canceled(err):
		t.lost.Add(1)
	default:
		t.failed.Add(1)
	}
}

// noAnswer counts a request whose last word is err, if the chain could not answer it: what is
// not there, or not for us, is an answer. One whose caller has something to fall back
// on has not come to its end here.
func (t *totals) noAnswer(req pullchain.Request, err error) {
	if hasFallback(req) || int(req.Op) >= len(t.exhausted) {
		return
	}
	switch pullchain.ReasonOf(err) {
	case pullchain.NotFound, pullchain.Denied, pullchain.Canceled, pullchain.Invalid:
		return
	}
	t.exhausted[req.Op].Add(1)
}

// forget drops what was counted of lanes that are no longer there.
func (t *totals) forget(lanes []*Lane) {
	known := func(name string) bool {
		return slices.ContainsFunc(lanes, func(l *Lane) bool { return l.Name() == name })
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.failovers {
		if !known(key.from) || !known(key.to) {
			delete(t.failovers, key)
		}
	}
}

func (t *totals) counts() Counts {
	out := Counts{
		FailoverAdded: map[string]Histogram{},
		Resumes:       t.resumes.Load(),
		ResumedBytes:  t.resumedBytes.Load(),
		HedgesWon:     t.won.Load(),
		HedgesLost:    t.lost.Load(),
		HedgesFailed:  t.failed.Load(),
	}
	for op := pullchain.Manifest; op <= pullchain.Referrers; op++ {
		out.ExhaustedKinds = append(out.ExhaustedKinds, KindCount{op.String(), t.exhausted[op].Load()})
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, n := range t.failovers {
		out.Failovers = append(out.Failovers, FailoverCount{key.from, key.to, key.code, key.phase, n})
	}
	slices.SortFunc(out.Failovers, func(a, b FailoverCount) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Phase, b.Phase))
	})
	for phase, added := range t.added {
		out.FailoverAdded[phase] = added.histogram(failoverBounds)
	}
	return out
}
