package balancer_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

// A caller with something to fall back on is told after a second per lane, at most,
// that no lane lets us connect; one without waits for as long as the dial takes.
func TestNoForceDoesNotWaitForBlackHoles(t *testing.T) {
	t.Parallel()
	spared := pullchain.FetchOptions{NoForce: true}
	headBlob := on(spared, blob)
	headBlob.Head = true
	for name, tt := range map[string]struct {
		lanes []fetchFunc
		req   pullchain.Request
		most  time.Duration
		least time.Duration
	}{
		"one":             {[]fetchFunc{blackholed}, on(spared, tag), time.Second, 0},
		"two":             {[]fetchFunc{blackholed, blackholed}, on(spared, tag), 2 * time.Second, 0},
		"one refuses":     {[]fetchFunc{blackholed, fail(refused)}, on(spared, tag), time.Second, 0},
		"HEAD of a blob":  {[]fetchFunc{blackholed}, headBlob, time.Second, 0},
		"nothing to show": {[]fetchFunc{blackholed}, tag, time.Minute, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(tt.lanes...)
				began := time.Now()
				_, err := r.Fetch(t.Context(), tt.req)
				took := time.Since(began)
				if pullchain.ReasonOf(err) != pullchain.Unavailable || took > tt.most || took < tt.least {
					t.Errorf("%v after %v", err, took)
				}
				if e := errorOf(t, err); len(e.Attempts) < len(tt.lanes) || e.Attempts[0].Err == nil {
					t.Errorf("attempts %+v", e.Attempts)
				}
			})
		})
	}
}

// A lane that connects, however slow it is then, is waited for all the same.
func TestNoForceWaitsForALaneThatConnects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(blackholed, after(3*time.Second, serve))
		if _, err := r.Fetch(t.Context(), on(pullchain.FetchOptions{NoForce: true}, byDigest)); err != nil {
			t.Error(err)
		}
	})
}
