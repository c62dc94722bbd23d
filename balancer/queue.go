package balancer

import (
	"sync/atomic"
	"time"
)

// A queue is the requests of a lane that wait for one thing: for one of our own connections
// to come free, since all that we may have are busy, or for an answer. It is safe for
// concurrent use.
type queue struct {
	n     atomic.Int64
	since atomic.Int64 // when the first of them came, in nanoseconds of Unix time
}

func (q *queue) enter() {
	if q.n.Add(1) == 1 {
		q.since.Store(time.Now().UnixNano())
	}
}

func (q *queue) leave() { q.n.Add(-1) }

// queueSettled is how long a queue must have been there to be one: any request is in it
// for the microseconds before it is given an idle connection, or dials.
const queueSettled = 50 * time.Millisecond

// length returns how many requests wait.
func (q *queue) length(now time.Time) int64 {
	n := q.n.Load()
	age := now.Sub(time.Unix(0, q.since.Load()))
	if n <= 0 || age >= 0 && age < queueSettled { // less than 0: the clock has been set back
		return 0
	}
	return n
}

// began returns when the first of them came, in nanoseconds of Unix time: now, if that
// seems to be to come, for then the clock has been set back since.
func (q *queue) began(now time.Time) int64 {
	since, n := q.since.Load(), now.UnixNano()
	if since > n && q.since.CompareAndSwap(since, n) {
		return n
	}
	return since
}

// Waits reports whether a request waits for one of our connections to the named upstream
// to come free.
func (b *Balancer) Waits(upstream string) bool {
	l := b.lane(upstream)
	return l != nil && l.load.queue.length(time.Now()) > 0
}
