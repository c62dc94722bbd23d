package daemon_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/internal/warm"
)

// warmth asks for the schedule, or has it run.
func (r *rig) warmth(method, path string) []warm.Plan {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.Daemon.AdminAddr()+path, strings.NewReader("{}"))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var got admin.Warmth
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	return got.Plans
}

// runWarmth has the schedule run, waits for it, and returns how it went.
func (r *rig) runWarmth() *warm.Run {
	r.t.Helper()
	before := r.warmth(http.MethodPost, "/api/v1/warm:run")[0].Runs
	var p warm.Plan
	r.eventually("the run ends", func() bool {
		p = r.warmth(http.MethodGet, "/api/v1/warm")[0]
		return p.Runs > before
	})
	return p.Last
}

// warmed is a pair with a cache and a table of images.
func warmed(t *testing.T, keysOfA, images string) *pair {
	t.Helper()
	p := newPair(t, func(cfg *rigConfig) {
		cfg.Cache = "dir = \"cache\"\nmax_size = \"64MiB\""
		cfg.Chain[0].Keys = keysOfA
		cfg.Chain = cfg.Chain[:1]
		cfg.Top = "[[warm]]\nimages = [" + images + "]\nevery = \"6h\"\n"
	})
	p.probed("a")
	return p
}

// What a table names is in the cache before a client asks for it, fetched as any client
// would fetch it, and once.
func TestScheduledWarmth(t *testing.T) {
	t.Parallel()
	p := warmed(t, "", `"library/alpine:3", "library/none:1"`)
	got := p.runWarmth()
	blobs := len(p.image.Blobs)
	if len(got.Images) != 2 || got.OK || !got.Images[0].OK || got.Images[0].Fetched != blobs || got.Images[1].OK || !strings.Contains(got.Images[1].Error, "404") {
		t.Fatalf("the first run: %+v", got)
	}
	if log := p.log.String(); !strings.Contains(log, "client=warm") {
		t.Error("its requests are not known as its own")
	}
	p.wantAsked("a", http.MethodGet, simnet.Blobs, blobs)
	for d, content := range p.image.Blobs {
		if got := p.get("/v2/library/alpine/blobs/" + d.String()); got.Status != http.StatusOK || !bytes.Equal(got.Body, content) {
			t.Errorf("a client's %s: status %d, %d bytes", d, got.Status, len(got.Body))
		}
	}
	if got := p.runWarmth(); !got.Images[0].OK || got.Images[0].Fetched != 0 {
		t.Errorf("the second run: %+v", got)
	}
	p.wantAsked("a", http.MethodGet, simnet.Blobs, blobs)
}

// What is not needed yet is worth no money.
func TestScheduledWarmthIsNotMetered(t *testing.T) {
	t.Parallel()
	p := warmed(t, "metered = true\n", `"library/alpine:3"`)
	if got := p.runWarmth(); got.Images[0].Skipped != warm.HeldMetered || !got.OK {
		t.Errorf("it went %+v", got)
	}
	p.wantAsked("a", "", simnet.Manifests, 0)
	p.wantAsked("a", "", simnet.Blobs, 0)
}

// A reload takes the tables that it finds, and a daemon that stops waits for none.
func TestScheduledWarmthOverAReload(t *testing.T) {
	t.Parallel()
	p := warmed(t, "", `"library/alpine:3"`)
	p.a.Inject(simnet.Fault{On: simnet.Manifests, Drop: simnet.EndStall})
	p.rewrite(`every = "6h"`, `every = "12h"`)
	if err := p.hangup(); err != nil {
		t.Fatal(err)
	}
	plans := p.warmth(http.MethodPost, "/api/v1/warm:run")
	if len(plans) != 1 || plans[0].EveryS != 12*3600 {
		t.Errorf("after a reload: %+v", plans)
	}
	p.eventually("it runs", func() bool { return p.asked("a", "", simnet.Manifests) > 0 })
}
