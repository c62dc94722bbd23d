package traffic

import (
	"context"
	"time"
)

// How readers are woken.
const (
	coalesce = 250 * time.Millisecond // changes that are closer together are one
	ticking  = 500 * time.Millisecond // bytes that flow are a change so often
)

// Changed waits until something has changed since the change of that number, and
// returns the number of the last one. 0 is before all. It takes no less than a quarter
// of a second, so that a reader of a busy Journal is not woken for every request, and
// fails only when ctx is done.
func (j *Journal) Changed(ctx context.Context, since uint64) (uint64, error) {
	if err := pause(ctx, coalesce, nil); err != nil {
		return since, err
	}
	for {
		now := time.Now()
		last, wake, wait := j.waiting(now, since)
		if last != since {
			return last, nil
		}
		if err := pause(ctx, wait, wake); err != nil {
			return since, err
		}
	}
}

// waiting returns the number of the last change, or what to wait for if it is since.
func (j *Journal) waiting(now time.Time, since uint64) (last uint64, wake <-chan struct{}, wait time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sweepLocked(now)
	if j.flights != nil && now.Sub(j.ticked) >= ticking {
		j.ticked = now
		j.changedLocked()
	}
	if j.changes != since {
		return j.changes, nil, 0
	}
	if j.wake == nil {
		j.wake = make(chan struct{})
	}
	wait = time.Hour
	if j.flights != nil {
		wait = ticking - now.Sub(j.ticked)
	}
	for _, p := range j.pulls {
		if at := p.next(now); !at.IsZero() {
			wait = min(wait, max(at.Sub(now), time.Millisecond))
		}
	}
	return since, j.wake, wait
}

// changedLocked wakes the readers that wait.
func (j *Journal) changedLocked() {
	j.changes++
	if j.wake != nil {
		close(j.wake)
		j.wake = nil
	}
}

// pause waits for d or for wake, which may be nil.
func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
