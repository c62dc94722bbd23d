package daemon_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/history"
)

// past asks the operator's plane for the history of an upstream.
func (r *rig) past(upstream string, w history.Window) []history.Cell {
	r.t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://%s/api/v1/registries/docker.io/upstreams/%s/history?window=%s", r.Daemon.AdminAddr(), upstream, w))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var got admin.UpstreamHistory
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	return got.Cells
}

// What was pulled before a restart is in the bars after it, and so is what failed.
func TestHistoryOverARestart(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	p.wantBytes(p.image.Path(), p.image.Manifest())
	p.restart()
	for _, w := range []history.Window{history.Hour, history.Day, history.Month} {
		var sum history.Cell
		for _, c := range p.past("a", w) {
			sum.OK += c.OK
			sum.ProbesOK += c.ProbesOK
			if history.Worse(c.State, sum.State) {
				sum.State = c.State
			}
		}
		if sum.OK == 0 || sum.ProbesOK == 0 || sum.State == "" {
			t.Errorf("%s: %+v", w, sum)
		}
	}
}
