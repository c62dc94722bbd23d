package cache

import (
	"context"
	"time"

	"github.com/pullchain/pullchain"
)

// sleep waits for d, or less if ctx ends, and then returns false.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// maxFails is how many fetches in a row may bring nothing to speak of before the
// fill fails. The balancer has tried every lane in each.
const maxFails = 4

// failure says what w does after its fetch has failed: try again after a pause,
// or leave the rest to others.
func (f *fill) failure(w *worker, err error) (pause time.Duration, again bool) {
	if f.misled(err) {
		if err := f.forget(); err != nil {
			f.detach(err)
		}
		return 0, true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state >= proved {
		return 0, false
	}
	if len(f.workers) > 1 {
		if !w.helper {
			f.crowded = time.Now().Add(crowdedTime)
		}
		return 0, false
	}
	if w.helper { // the last one is nobody's helper
		w.helper = false
		return 0, true
	}
	if f.contradictedLocked(w, asError(err)) {
		return 0, true
	}
	f.fails++
	if f.have.total-f.hadAtFail >= minPiece { // only what is new counts, not what was sent
		f.fails = 0
	}
	f.hadAtFail = f.have.total
	ends := f.answered && ofRange(err) // the blob ends before that, says somebody
	if f.state == opening || f.fails >= maxFails || !worthRetry(err) && !ends {
		if ends {
			err = &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeWrongSize, Err: err}
		}
		f.endLocked(failed, asError(err))
		return 0, false
	}
	if f.fails <= 1 {
		return 0, true
	}
	return 100 * time.Millisecond << f.fails, true
}

// worthRetry reports whether asking once more may help.
func worthRetry(err error) bool {
	switch reason := pullchain.ReasonOf(err); reason {
	case pullchain.NotFound, pullchain.Denied:
		return false
	default:
		return reason.Failover()
	}
}
