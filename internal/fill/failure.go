package fill

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"github.com/pullchain/pullchain"
)

// maxFails is how many fetches in a row may bring nothing to speak of before the
// fill fails. The balancer has tried every lane in each.
const maxFails = 4

// retries count the fetches that brought nothing. They are guarded by the fill's
// mutex.
type retries struct {
	fails     int   // in a row
	hadAtFail int64 // bytes of the copy, when the last of them failed
}

// failed counts a fetch that failed when have bytes were there. Only what is new
// counts as progress, not what was sent.
func (r *retries) failed(have int64) {
	r.fails++
	if have-r.hadAtFail >= minPiece {
		r.fails = 0
	}
	r.hadAtFail = have
}

// spent reports whether another fetch is not worth it.
func (r *retries) spent() bool { return r.fails >= maxFails }

// pause is how long to wait before the next fetch: nothing after one failure, for
// another lane may have what is missing; 0.4, 0.8 and 1.6 s after the next.
func (r *retries) pause() time.Duration {
	if r.fails <= 1 {
		return 0
	}
	return 100 * time.Millisecond << r.fails
}

// failed says what w does after its fetch has failed: try again after a pause, or
// leave what is missing to others.
func (w *worker) failed(err error) (pause time.Duration, again bool) {
	f := w.f
	if f.misled(err) {
		if err := f.forget(); err != nil {
			f.detach(err)
		}
		return 0, true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.phase.final() {
		return 0, false
	}
	if len(f.plan.workers) > 1 {
		if !w.helper {
			f.plan.backoff = time.Now().Add(backoffTime)
		}
		return 0, false
	}
	if w.helper { // the last one helps no other
		w.helper = false
		return 0, true
	}
	if w.askLastLocked(err) {
		return 0, true
	}
	f.retries.failed(f.copy.have.total)
	ends := f.answered && ofRange(err) // the blob ends before that, says an upstream
	if f.phase == opening || f.retries.spent() || !worthRetry(err) && !ends {
		if ends {
			err = &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeWrongSize, Err: err}
		}
		f.enterLocked(failed, AsError(err))
		return 0, false
	}
	return f.retries.pause(), true
}

// askLastLocked has the upstream asked last that has just failed: be it that it
// could not send what it said, or that it says something else than others do of
// the blob (docs/faults.md F19). It returns true if that has settled the blob's size.
func (w *worker) askLastLocked(err error) bool {
	c := w.f.copy
	if !c.confirmed {
		return false
	}
	e := AsError(err)
	by := e.Upstream
	if ofRange(e) { // the blob ends before that
		by = cmp.Or(by, refusedBy(e.Attempts))
		if w.f.resizeLocked(e.Size, by) {
			return true
		}
	}
	c.shortOf = c.shortOf || by == c.sizedBy || w.source == c.sizedBy
	if by != "" {
		w.others = []string{by}
	}
	return false
}

// refusedBy returns the upstream that found the range wrong which was asked for.
func refusedBy(attempts []pullchain.Attempt) string {
	for _, a := range attempts {
		if a.Err != nil && ofRange(a.Err) {
			return a.Upstream
		}
	}
	return ""
}

// ofRange reports whether err speaks of the range that was asked for alone.
func ofRange(err error) bool { return pullchain.ReasonOf(err) == pullchain.Invalid }

// worthRetry reports whether asking once more may help.
func worthRetry(err error) bool {
	switch reason := pullchain.ReasonOf(err); reason {
	case pullchain.NotFound, pullchain.Denied:
		return false
	default:
		return reason.Failover()
	}
}

// misled reports whether the first fetch failed because it asked for a part of
// what an earlier attempt had taken for the blob.
func (f *fill) misled(err error) bool {
	e, ok := errors.AsType[*pullchain.Error](err)
	f.mu.Lock()
	defer f.mu.Unlock()
	return ok && e.Status == http.StatusRequestedRangeNotSatisfiable && f.phase == opening && f.copy.have.total > 0
}
