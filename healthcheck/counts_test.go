package healthcheck_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/healthcheck"
)

// Probes are counted by how they ended and how long they took, and the counts go over
// to the Checker that takes the Target over.
func TestCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		f := &fake{name: "a", probe: func(_ context.Context, n int) error {
			time.Sleep(30 * time.Millisecond)
			if n == 2 {
				return down
			}
			return nil
		}}
		jobs := []healthcheck.Job{{Target: f, Kind: func(err error) string { return "it is " + err.Error() }}}
		c := healthcheck.New(jobs, nil)
		for range 3 {
			if _, err := c.Check(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
		}
		want := healthcheck.Counts{Passed: 2, Failed: map[string]uint64{"it is down": 1}, TookS: 0.09}
		want.Took[2] = 3 // up to 50 ms
		if diff := cmp.Diff(want, c.Snapshot()[0].Counts); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		next := healthcheck.New(jobs, c)
		if _, err := next.Check(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if got := next.Snapshot()[0].Counts; got.Passed != 3 || got.Failed["it is down"] != 1 {
			t.Errorf("after a reload: %+v", got)
		}
	})
}
