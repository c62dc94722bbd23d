package balancer

import (
	"slices"
	"sync"
	"time"

	"github.com/pullchain/pullchain"
)

// An attemptLog is every try behind one answer, and the gates that kept lanes from
// being tried. What a client is told when there is no answer follows from it. No
// trace, no trust (docs/faults.md 7b.6). It is safe for concurrent use.
type attemptLog struct {
	began time.Time

	// Used by the goroutine of the request alone.
	queued  time.Duration // for connections of our own, by attempts that have ended
	granted time.Duration // of that, beyond the budget

	mu    sync.Mutex
	tries []pullchain.Attempt
	gates []*closedGate
	cuts  int // bodies that failed midway
	since int // index of the first try since the last restart
}

// restart begins a new round of tries, with a budget of its own: the first
// bytes are long out, and it is the rest that is looked for.
func (log *attemptLog) restart() {
	log.mu.Lock()
	defer log.mu.Unlock()
	log.began, log.gates = time.Now(), nil
	log.queued, log.granted = 0, 0
	if log.cuts > 0 {
		log.since = max(len(log.tries)-1, 0) // the cut itself belongs to the round
	}
}

// triesKept bounds a log: of a lane that cuts a large blob again and again it holds
// the first tries and the last.
const triesKept = 100

// addLocked keeps a. What is dropped when there are too many is from the middle: how
// it began and where it stands is what people ask.
func (log *attemptLog) addLocked(a pullchain.Attempt) {
	log.tries = append(log.tries, a)
	if len(log.tries) > triesKept {
		log.tries = slices.Delete(log.tries, triesKept/2, triesKept/2+1)
		log.since = max(log.since-1, 0)
	}
}

// cut records that l's body failed at offset.
func (log *attemptLog) cut(l *Lane, offset int64, err error) {
	log.mu.Lock()
	defer log.mu.Unlock()
	log.addLocked(pullchain.Attempt{Upstream: l.Name(), Offset: offset, Start: time.Now(), Err: err})
	log.cuts++
}

// resumed reports whether a body has been cut before.
func (log *attemptLog) resumed() bool {
	log.mu.Lock()
	defer log.mu.Unlock()
	return log.cuts > 0
}

// recent returns the tries of this round.
func (log *attemptLog) recent() []pullchain.Attempt {
	log.mu.Lock()
	defer log.mu.Unlock()
	return slices.Clone(log.tries[log.since:])
}

// firstFailure returns the first try of this round that another lane than to
// failed. A lane that was not asked because its gate is closed is none: that is an
// event of its own, when it closes.
func (log *attemptLog) firstFailure(to *Lane) (pullchain.Attempt, bool) {
	for _, a := range log.recent() {
		if a.Err != nil && a.Gate == "" && a.Upstream != to.Name() {
			return a, true
		}
	}
	return pullchain.Attempt{}, false
}

// lastStart is when the last try began.
func (log *attemptLog) lastStart() time.Time {
	log.mu.Lock()
	defer log.mu.Unlock()
	if len(log.tries) == 0 {
		return log.began
	}
	return log.tries[len(log.tries)-1].Start
}

// notAsked records that l was not asked.
func (log *attemptLog) notAsked(l *Lane, gate string, err *pullchain.Error) {
	log.mu.Lock()
	defer log.mu.Unlock()
	log.addLocked(pullchain.Attempt{Upstream: l.Name(), Gate: gate, Start: time.Now(), Err: err})
}

// recorded takes down g, a closed gate that the request met.
func (log *attemptLog) recorded(g *closedGate, now time.Time) {
	log.notAsked(g.lane, g.gate, g.err(now))
	log.mu.Lock()
	defer log.mu.Unlock()
	log.gates = append(log.gates, g)
}

// closedGates returns the gates met in this round.
func (log *attemptLog) closedGates() []*closedGate {
	log.mu.Lock()
	defer log.mu.Unlock()
	return slices.Clone(log.gates)
}

// tried records how an attempt went; err is nil for the one that served.
func (log *attemptLog) tried(a *attempt, took time.Duration, err error) {
	log.mu.Lock()
	defer log.mu.Unlock()
	log.addLocked(pullchain.Attempt{
		Upstream: a.lane.Name(), Offset: max(a.race.req.Range.From, 0), Start: a.start, Took: took, Hedge: a.hedge, Err: err,
	})
}

// attempts returns every try so far, in the order in which they were begun.
func (log *attemptLog) attempts() []pullchain.Attempt {
	log.mu.Lock()
	defer log.mu.Unlock()
	tries := slices.Clone(log.tries)
	slices.SortStableFunc(tries, func(a, b pullchain.Attempt) int { return a.Start.Compare(b.Start) })
	return tries
}
