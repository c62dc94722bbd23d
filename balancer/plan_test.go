package balancer_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
)

// What a request would meet is told without asking any upstream.
func TestPlan(t *testing.T) {
	t.Parallel()
	resolve := balancer.LaneConfig{Resolve: true}
	tests := []struct {
		name    string
		configs []balancer.LaneConfig
		before  func(*rig)
		req     pullchain.Request
		want    string
	}{
		{"in order", []balancer.LaneConfig{resolve, resolve}, nil, tag, "a 1, b 2"},
		{"a mirror that is not believed", []balancer.LaneConfig{{}, resolve}, nil, tag, "b 1, a trust"},
		{"by digest it is", []balancer.LaneConfig{{}, resolve}, nil, blob, "a 1, b 2"},
		{"a metered one last", []balancer.LaneConfig{{Resolve: true, Metered: true}, resolve}, nil, tag, "b 1, a 2"},
		{"one that is drained", []balancer.LaneConfig{resolve, resolve}, func(r *rig) { r.lanes[0].SetAdminState(balancer.Drained, time.Time{}) }, tag, "b 1, a operator admin"},
		{"one that is down", []balancer.LaneConfig{resolve, resolve}, func(r *rig) { r.lanes[0].SetProbeResult(false, &refused) }, tag, "b 1, a probe conn_refused"},
		{"all that are there", make([]balancer.LaneConfig, 8), nil, blob, "a 1, b 2, c 3, d 4, e 5, f 6, g enough, h enough"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fetches := make([]func(context.Context, pullchain.Request) (pullchain.Response, error), len(tt.configs))
			for i := range fetches {
				fetches[i] = serve
			}
			r := newRigOf(tt.configs, fetches...)
			if tt.before != nil {
				tt.before(r)
			}
			if diff := cmp.Diff(tt.want, planText(r.Plan(tt.req))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for i, n := range r.counts() {
				if n > 0 {
					t.Errorf("the upstream %d was asked", i)
				}
			}
		})
	}
}

func planText(plan []balancer.Candidate) string {
	var out []string
	for _, c := range plan {
		text := c.Upstream
		if c.Turn > 0 {
			text += fmt.Sprint(" ", c.Turn)
		}
		out = append(out, strings.TrimSpace(strings.Join([]string{text, c.Gate, string(c.Code)}, " ")))
	}
	return strings.Join(strings.Fields(strings.ReplaceAll(strings.Join(out, ", "), " ,", ",")), " ")
}

// A gate that has a time says when it opens.
func TestPlanSaysWhen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(fail(quotaGone), serve)
		if _, err := r.Fetch(t.Context(), tag); err != nil {
			t.Fatal(err)
		}
		plan := r.Plan(tag)
		if len(plan) != 2 || plan[0].Upstream != "b" || plan[1].Gate != "cooldown" || plan[1].Code != pullchain.CodeQuota || plan[1].Until == nil {
			t.Errorf("the plan is %+v", plan)
		}
	})
}

// The registry itself has said that there is no such tag: no other is asked.
func TestPlanAfterAFinalNo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(fail(missing), serve)
		_, _ = r.Fetch(t.Context(), tag)
		if got := planText(r.Plan(tag)); got != "a absent http_404, b settled" {
			t.Errorf("the plan is %s", got)
		}
	})
}
