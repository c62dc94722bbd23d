package balancer

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pullchain/pullchain"
)

// A trail is every try behind one answer, and the verdict over them when there
// is none. No trace, no trust (FAULTS.md 7b.6). It is safe for concurrent use.
type trail struct {
	began time.Time

	// Used by the goroutine of the request alone.
	queued  time.Duration // for connections of our own, by attempts that have ended
	granted time.Duration // of that, beyond the budget

	mu    sync.Mutex
	tries []pullchain.Attempt
	gates []*shut
	cuts  int // bodies that failed midway
	since int // index of the first try since the last restart
}

// restart begins a new round of tries, with a budget of its own: the first
// bytes are long out, and it is the rest that is looked for.
func (t *trail) restart() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.began, t.gates = time.Now(), nil
	t.queued, t.granted = 0, 0
	if t.cuts > 0 {
		t.since = max(len(t.tries)-1, 0) // the cut itself belongs to the round
	}
}

// triesKept bounds a trail: a lane that cuts a large blob again and again is told
// of by the first of it and the last.
const triesKept = 100

func (t *trail) addLocked(a pullchain.Attempt) {
	t.tries = append(t.tries, a)
	if len(t.tries) > triesKept {
		t.tries = slices.Delete(t.tries, triesKept/2, triesKept/2+1)
		t.since = max(t.since-1, 0)
	}
}

// cut records that l's body failed at offset.
func (t *trail) cut(l *Lane, offset int64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addLocked(pullchain.Attempt{Upstream: l.Name(), Offset: offset, Start: time.Now(), Err: err})
	t.cuts++
}

// resumed reports whether a body has been cut before.
func (t *trail) resumed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cuts > 0
}

// recent returns the tries of this round.
func (t *trail) recent() []pullchain.Attempt {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.tries[t.since:])
}

// firstFailure returns the first try of this round that another lane than to
// failed. A lane that was not asked because its gate is shut is none: that was
// told when it shut.
func (t *trail) firstFailure(to *Lane) (pullchain.Attempt, bool) {
	for _, a := range t.recent() {
		if a.Err != nil && a.Gate == "" && a.Upstream != to.Name() {
			return a, true
		}
	}
	return pullchain.Attempt{}, false
}

// lastStart is when the last try began.
func (t *trail) lastStart() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.tries) == 0 {
		return t.began
	}
	return t.tries[len(t.tries)-1].Start
}

// gate records that l was not asked.
func (t *trail) gate(l *Lane, gate string, err *pullchain.Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addLocked(pullchain.Attempt{Upstream: l.Name(), Gate: gate, Start: time.Now(), Err: err})
}

// met records that the request met s, a gate that is shut.
func (t *trail) met(s *shut, now time.Time) {
	t.gate(s.lane, s.gate, s.err(now))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gates = append(t.gates, s)
}

// shuts returns the gates met in this round.
func (t *trail) shuts() []*shut {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.gates)
}

// tried records how an attempt went; err is nil for the one that served.
func (t *trail) tried(a *attempt, took time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addLocked(pullchain.Attempt{
		Upstream: a.lane.Name(), Offset: max(a.race.req.Range.From, 0), Start: a.start, Took: took, Hedge: a.hedge, Err: err,
	})
}

// attempts returns every try so far, in the order in which they were begun.
func (t *trail) attempts() []pullchain.Attempt {
	t.mu.Lock()
	defer t.mu.Unlock()
	tries := slices.Clone(t.tries)
	slices.SortStableFunc(tries, func(a, b pullchain.Attempt) int { return a.Start.Compare(b.Start) })
	return tries
}

// failOpen reports whether lanes that are shut on a guess deserve a try: nobody
// has answered, not even with a "no".
func (t *trail) failOpen() bool {
	for _, a := range t.attempts() {
		switch pullchain.ReasonOf(a.Err) {
		case pullchain.NotFound, pullchain.Denied, pullchain.Invalid, pullchain.Canceled:
			return false
		}
	}
	return true
}

// verdict sums the tries up in one error: the one that says most about trying
// again. One lane that is down and one that has not got it are "down", not "not
// found".
func (t *trail) verdict(ctx context.Context, sort func([]pullchain.Attempt)) error {
	tries := t.attempts()
	sort(tries)
	if ctx.Err() != nil {
		return &pullchain.Error{Reason: pullchain.Canceled, Code: pullchain.CodeCanceled, Attempts: tries, Err: context.Cause(ctx)}
	}
	last := lastWords(tries)
	if len(last) == 0 && len(tries) > 0 { // all that there is has been taken out
		last = append(last, asError(tries[0].Err))
	}
	if len(last) == 0 {
		return &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeNoUpstream, Attempts: tries, Err: errNoLane}
	}
	best := slices.MaxFunc(last, func(a, b *pullchain.Error) int { return cmp.Compare(weight(a), weight(b)) })
	v := &pullchain.Error{Reason: best.Reason, Code: best.Code, Status: best.Status, Size: best.Size, Attempts: tries, RetryAfter: soonest(last)}
	switch {
	case errors.Is(best.Err, errOutOfTime):
		v.Status = http.StatusGatewayTimeout
	case best.Reason == pullchain.Limited && all(last, pullchain.Limited):
		v.Status = http.StatusTooManyRequests
	case best.Reason == pullchain.Limited || best.Reason == pullchain.Egress:
		v.Reason = pullchain.Unavailable
		v.Status = 0
	}
	causes := make([]error, len(last))
	for i, e := range last {
		causes[i] = e
	}
	v.Err = errors.Join(causes...)
	return v
}

var errNoLane = errors.New("no upstream of this registry may be asked for it")

// lastWords returns each lane's last error, in the order of the first tries.
func lastWords(tries []pullchain.Attempt) []*pullchain.Error {
	var names []string
	last := map[string]*pullchain.Error{}
	for _, a := range tries {
		e := asError(a.Err)
		if e == nil || errors.Is(a.Err, errLost) || a.Gate == gateOperator {
			continue // not words on the matter
		}
		if last[a.Upstream] == nil {
			names = append(names, a.Upstream)
		}
		last[a.Upstream] = e
	}
	words := make([]*pullchain.Error, len(names))
	for i, name := range names {
		words[i] = last[name]
	}
	return words
}

// weight orders errors by how much they decide.
func weight(e *pullchain.Error) int {
	switch e.Reason {
	case pullchain.Invalid, pullchain.Canceled:
		return 6
	case pullchain.NotFound:
		if e.Final {
			return 5
		}
		return 0
	case pullchain.Limited:
		return 4
	case pullchain.Unavailable, pullchain.Egress:
		return 3
	case pullchain.Corrupt, pullchain.Refused:
		return 2
	case pullchain.Denied:
		return 1
	}
	return 0
}

func all(errs []*pullchain.Error, reason pullchain.Reason) bool {
	for _, e := range errs {
		if e.Reason != reason {
			return false
		}
	}
	return true
}

// soonest is when it is worth coming back: the earliest that any lane named.
func soonest(errs []*pullchain.Error) time.Duration {
	var least time.Duration
	for _, e := range errs {
		if e.RetryAfter > 0 && (least == 0 || e.RetryAfter < least) {
			least = e.RetryAfter
		}
	}
	return least
}
