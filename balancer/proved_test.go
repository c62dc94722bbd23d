package balancer_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
)

// A lane is a hope until a probe has passed or a request was answered; it is asked all
// the same.
func TestProved(t *testing.T) {
	t.Parallel()
	refused := &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeConnRefused, Reach: pullchain.ReachLane}
	limited := &pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, Reach: pullchain.ReachLane, RetryAfter: time.Minute}
	denied := &pullchain.Error{Reason: pullchain.Denied, Code: pullchain.CodeUnauthorized, Status: 401}
	probe := func(r *rig) {
		err := r.lanes[0].Probe(context.Background())
		r.lanes[0].SetProbeResult(true, err)
	}
	for _, tt := range []struct {
		name     string
		ping     error
		fetch    fetchFunc
		do       func(*rig)
		proved   bool // the lane
		chain    bool // the chain
		pullable bool
	}{
		{"nothing has happened", nil, serve, func(*rig) {}, false, false, true},
		{"a probe has passed", nil, serve, probe, true, true, true},
		{"a probe was refused", refused, serve, probe, false, false, true},
		{"a probe was told to come back later", limited, serve, probe, false, false, false},
		{"a probe was asked for a login", denied, serve, probe, true, true, true},
		{"a request was answered", refused, serve, func(r *rig) { _, _ = r.get(context.Background(), tag) }, true, true, true},
		{"a request failed", nil, failWith(refused), func(r *rig) { _, _ = r.get(context.Background(), tag) }, false, false, false},
		{"proved, and then taken out", nil, serve, func(r *rig) { probe(r); r.lanes[0].SetProbeResult(false, refused) }, true, false, false},
		{"proved, and forgotten", nil, serve, func(r *rig) { probe(r); r.Reset(r.lanes[0]) }, true, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(tt.fetch)
				r.ups[0].ping = func(context.Context) error { return tt.ping }
				tt.do(r)
				s := r.Snapshot()
				if l := s.Lanes[0]; l.Proved != tt.proved || s.Proved != tt.chain || s.Pullable != tt.pullable {
					t.Errorf("lane proved: %v, chain proved: %v, pullable: %v; want %v, %v, %v", l.Proved, s.Proved, s.Pullable, tt.proved, tt.chain, tt.pullable)
				}
				// A reload that keeps the lane keeps what is known of it.
				next := balancer.New(balancer.Config{Registry: "docker.io", Lanes: r.lanes, Previous: r.Balancer})
				if again := next.Snapshot(); again.Lanes[0].Proved != tt.proved {
					t.Errorf("after a reload the lane is proved: %v", again.Lanes[0].Proved)
				}
			})
		})
	}
}

func failWith(err error) fetchFunc {
	return func(context.Context, pullchain.Request) (pullchain.Response, error) { return pullchain.Response{}, err }
}

// What a lane did last, for its page.
func TestLanePast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(serve, serve)
		began := time.Now()
		if l := r.Snapshot().Lanes[0]; l.FirstServed != nil || l.LastServed != nil || len(l.Transitions) != 0 || l.ThroughputP50 != 0 {
			t.Errorf("of a lane that did nothing: %+v", l)
		}
		r.mustGet(t, tag)
		time.Sleep(time.Minute)
		r.mustGet(t, byDigest)
		l := r.Snapshot().Lanes[0]
		if !l.FirstServed.Equal(began) || !l.LastServed.Equal(began.Add(time.Minute)) {
			t.Errorf("it served first at %v and last at %v", l.FirstServed, l.LastServed)
		}
		// The one comes and goes; what the other did once is not washed away by it.
		r.lanes[1].SetProbeResult(false, errors.New("no"))
		r.lanes[1].SetProbeResult(true, nil)
		for range 60 {
			r.lanes[0].SetAdminState(balancer.Drained, time.Time{})
			time.Sleep(time.Second)
			r.lanes[0].SetAdminState("", time.Time{})
			time.Sleep(time.Second)
		}
		s := r.Snapshot()
		a := s.Lanes[0].Transitions
		if len(a) != 20 || a[0].To != balancer.StateServing || a[1].To != balancer.StateDrained || a[1].Code != pullchain.CodeAdmin || !a[0].At.Equal(a[1].At.Add(time.Second)) {
			t.Errorf("%d transitions: %+v", len(a), a)
		}
		b := s.Lanes[1].Transitions
		if len(b) != 20 { // it serves each time that the first does not
			t.Errorf("of the second: %+v", b)
		}
	})
}

// The percentiles are of whole bodies, and a slow one among many shows in neither.
func TestThroughputPercentiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wait := time.Second
		r := newRig(func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
			return slowly(req, wait)
		})
		for i := range 20 {
			wait = time.Second
			if i == 0 {
				wait = 100 * time.Second
			}
			r.mustGet(t, blob)
		}
		l := r.Snapshot().Lanes[0]
		size := int64(len(bytesOf(blob)))
		if l.ThroughputP50 < size/2 || l.ThroughputP50 > size || l.ThroughputP95 < l.ThroughputP50 {
			t.Errorf("p50 %d and p95 %d bytes/s of bodies of %d bytes in a second", l.ThroughputP50, l.ThroughputP95, size)
		}
		if c := l.Counts; c.Bodies != 20 || len(c.LastRates) != 20 || c.LastRates[0] > float64(size)/99 || c.LastRates[19] < float64(size)/2 {
			t.Errorf("%d bodies at %v", c.Bodies, c.LastRates)
		}
	})
}

// slowly serves the blob, but for a wait before its first byte of content.
func slowly(req pullchain.Request, wait time.Duration) (pullchain.Response, error) {
	resp, err := answer(req, bytesOf(req), nil)
	resp.Body = pullchain.PlainBody(io.NopCloser(&pausing{resp.Body, wait}))
	return resp, err
}
