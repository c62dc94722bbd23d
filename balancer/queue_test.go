package balancer_test

import (
	"context"
	"net/http/httptrace"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

// queued waits for one of our own connections to come free for so long, and then
// does as next does.
func queued(wait time.Duration, next fetchFunc) fetchFunc {
	return func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		trace := httptrace.ContextClientTrace(ctx)
		trace.GetConn("cdn:443")
		return after(wait, func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			trace.GotConn(httptrace.GotConnInfo{Reused: true})
			return next(ctx, req)
		})(ctx, req)
	}
}

// A pull with more layers than the upstream may have connections: what waits in
// our own queue is no silence of the far end's, and gets its turn however long the
// layers before it take.
func TestOurOwnQueueCostsNoBudget(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		lane   fetchFunc
		took   time.Duration
		served bool
		failed uint32 // requests that the lane is blamed for
	}{
		"served after two minutes":      {queued(2*time.Minute, serve), 2 * time.Minute, true, 0},
		"slow after the queue":          {queued(40*time.Second, after(20*time.Second, serve)), time.Minute, true, 0},
		"silent after the queue":        {queued(40*time.Second, silent), 70 * time.Second, false, 1},
		"never served":                  {queued(time.Hour, serve), 10*time.Minute + 30*time.Second, false, 0},
		"no queue, and slow to connect": {after(40*time.Second, serve), 30 * time.Second, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(tt.lane)
				start := time.Now()
				got, err := r.get(t.Context(), blob)
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if served := err == nil && slices.Equal(got, bytesOf(blob)); served != tt.served {
					t.Errorf("served: %t, %v; want %t", served, err, tt.served)
				}
				if !tt.served && pullchain.ReasonOf(err) != pullchain.Unavailable {
					t.Errorf("the client is told %v", err)
				}
				if b := r.state(0).Breakers[pullchain.ClassBlob]; b.Failures != tt.failed {
					t.Errorf("the lane is blamed %d times, want %d", b.Failures, tt.failed)
				}
			})
		})
	}
}

// A caller with something to fall back on does not stand in our own queue for ten minutes.
func TestSpareDoesNotQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(queued(time.Hour, serve))
		began := time.Now()
		_, err := r.Fetch(t.Context(), on(pullchain.FetchOptions{NoForce: true}, tag))
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}
