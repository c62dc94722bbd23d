package dashboard_test

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/history"
	"github.com/pullchain/pullchain/internal/warm"
)

// sources are all that a daemon gives, over one snapshot of it.
func sources(snapshot func() admin.Snapshot) admin.Sources {
	s := snapshot()
	return admin.Sources{Snapshot: snapshot, History: pastOf(s), Events: events(eventsOf(s)), Cache: keeper{}, Traffic: busyDay(), Operator: idle{}, Explainer: knowing{}, Warm: &ahead{plans: warmPlans()}}
}

// pastOf is what was seen of the lanes: a quarter of an hour ago they came into their
// states, and all was well before.
func pastOf(s admin.Snapshot) *history.Rings {
	rings := history.New()
	start := now.Add(-26 * time.Hour)
	for at, step := start, 10*time.Minute; !at.After(now); at = at.Add(step) {
		if now.Sub(at) < 90*time.Minute {
			step = 30 * time.Second
		}
		var all []history.Observation
		turn := uint64(at.Sub(start) / (30 * time.Second))
		for _, r := range s.Registries {
			for i, l := range r.Lanes {
				o := history.Observation{Registry: r.Registry, Upstream: l.Upstream, State: balancer.StateStandby, ProbesOK: turn, OK: turn * 3}
				if i == 0 {
					o.State = balancer.StateServing
				}
				if now.Sub(at) < 14*time.Minute {
					o.State, o.Code = l.State, string(l.Code)
				}
				if since := at.Sub(now.Add(-16 * time.Minute)); since > 0 && l.Code != "" {
					o.Failed = uint64(since / (40 * time.Second))
				}
				wave := float64(turn%40) * 4
				o.SaidNo, o.Limited, o.Broken = o.Failed/4, o.Failed/2, o.Failed/8
				o.Received, o.Rates = turn*40<<20, history.Rates{Total: turn, Last: []float64{(4 + wave/20) * 1e6, (8 + wave/10) * 1e6}}
				if l.Quota != nil {
					o.Quota = &history.Quota{Limit: l.Quota.Limit, Remaining: int(100 - turn%100), At: at}
				}
				o.Waits = []history.Waits{{Total: turn * 3, LastMS: []float64{120 + wave, 90 + wave/2, 210 + 2*wave}}}
				all = append(all, o)
			}
		}
		rings.Observe(at, all)
	}
	return rings
}

// events are all that happened, oldest first.
type events []balancer.Event

func (e events) Since(seq uint64) ([]balancer.Event, uint64, bool) {
	return slices.Clone(e), e.Last(), false
}
func (e events) Last() uint64 { return uint64(len(e)) }
func (e events) Wait(ctx context.Context, _ uint64) error {
	<-ctx.Done()
	return ctx.Err()
}

func eventsOf(s admin.Snapshot) []balancer.Event {
	var out []balancer.Event
	add := func(e balancer.Event) {
		e.Seq = uint64(len(out) + 1)
		out = append(out, e)
	}
	for _, r := range s.Registries {
		for _, l := range r.Lanes {
			if l.Code != "" {
				add(balancer.Event{At: now.Add(-20 * time.Minute), Kind: balancer.KindForced, Registry: r.Registry, Upstream: l.Upstream, Code: l.Code, Class: "manifest"})
				add(balancer.Event{At: now.Add(-14 * time.Minute), Kind: balancer.KindTransition, Registry: r.Registry, Upstream: l.Upstream, From: balancer.StateServing, To: l.State, Code: l.Code, Until: l.Until})
			}
		}
		for _, f := range slices.Backward(r.Failovers) {
			add(balancer.Event{At: f.At, Kind: balancer.KindFailover, Registry: r.Registry, Upstream: f.From, Code: f.Code, Failover: &f})
		}
	}
	return out
}

// knowing explains one image.
type knowing struct{}

func (knowing) Explain(_ context.Context, image string) (admin.Explanation, error) {
	if image != "alpine:3.20" {
		return admin.Explanation{}, admin.ErrNoImage
	}
	return admin.Explanation{
		Image: image, Name: "docker.io/library/alpine:3.20", Registry: "docker.io", Repo: "library/alpine", Tag: "3.20", Served: true, Strategy: balancer.Ordered,
		Candidates: []admin.Candidate{
			{Candidate: balancer.Candidate{Upstream: "cf-worker", Turn: 1}, State: balancer.StateServing, Via: "direct", Trust: "resolve"},
			{Candidate: balancer.Candidate{Upstream: "mirror-x", Turn: 2}, State: balancer.StateStandby, Via: "direct", Trust: "resolve"},
			{Candidate: balancer.Candidate{Upstream: "docker-hub", Gate: "cooldown", Code: pullchain.CodeQuota, Until: in(14 * time.Minute)}, State: balancer.StateCooling, Via: "home", Trust: "resolve"},
		},
		Cache: &cache.Holding{Digest: digest.FromString("a"), Confirmed: in(-3 * time.Minute), Manifest: true, Objects: 3, Bytes: 3 << 20},
		Forms: []admin.ClientForm{{Form: "default", Path: "/v2/library/alpine/manifests/3.20", Pull: "docker pull alpine:3.20"}, {Form: "path", Path: "/v2/docker.io/library/alpine/manifests/3.20", Pull: "docker pull 127.0.0.1:5151/docker.io/library/alpine:3.20"}},
	}, nil
}

func (knowing) Digests(context.Context, string) ([]admin.UpstreamDigest, error) {
	return []admin.UpstreamDigest{
		{Upstream: "docker-hub", Code: pullchain.CodeQuota, Error: "429 Too Many Requests", MS: 40},
		{Upstream: "cf-worker", Digest: digest.FromString("a"), MS: 210}, {Upstream: "mirror-x", Digest: digest.FromString("b"), MS: 95},
	}, nil
}

// idle is an operator that has nothing to do: pages have forms, and post none.
type idle struct{ admin.Operator }

// keeper is a cache with a few objects.
type keeper struct{ admin.Cache }

func (keeper) Snapshot() cache.Snapshot { return *healthy().Cache }

func (keeper) List(_ context.Context, query string) []cache.Entry {
	all := []cache.Entry{
		{Digest: digest.FromString("a"), Kind: cache.KindManifest, Size: 1862, Here: 1862, Images: []string{"docker.io/library/alpine:3.20", "docker.io/library/alpine:3", "docker.io/library/alpine:latest", "docker.io/library/alpine:edge"}, Public: true, Pinned: true, Used: now.Add(-time.Minute)},
		{Digest: digest.FromString("b"), Kind: cache.KindBlob, Size: 3626897, Here: 3626897, Images: []string{"docker.io/library/alpine:3.20"}, Public: true, Used: now.Add(-3 * time.Hour)},
		{Digest: digest.FromString("c"), Kind: cache.KindPartial, Size: 912 << 20, Here: 300 << 20, Images: []string{"ghcr.io/acme/secret@" + sum}, Used: now.Add(-26 * time.Hour)},
	}
	return slices.DeleteFunc(all, func(e cache.Entry) bool {
		return !strings.Contains(e.Digest.String()+" "+strings.Join(e.Images, " "), query)
	})
}

// ahead is a schedule of what is fetched ahead of need.
type ahead struct {
	plans []warm.Plan
	asked int // to run now
}

func (a *ahead) Plans() []warm.Plan { return a.plans }

func (a *ahead) RunNow() []warm.Plan {
	a.asked++
	return a.plans
}

// warmPlans are tables with all that can have become of an image.
func warmPlans() []warm.Plan {
	return []warm.Plan{
		{
			Images: []string{"docker.io/library/alpine:3.20", "docker.io/library/none:1", "ghcr.io/acme/app:v1", "quay.io/acme/tool:2", "registry.k8s.io/pause:3.9", "docker.io/library/redis:8"}, Platforms: []string{"linux/amd64"},
			EveryS: 6 * 3600, Jobs: 4, Next: in(4 * time.Hour), Runs: 7,
			Last: &warm.Run{At: now.Add(-2 * time.Hour), TookS: 93, Images: []warm.Result{
				{Image: "docker.io/library/alpine:3.20", OK: true, Blobs: 3, Bytes: 4 << 20, Fetched: 2, New: 3 << 20},
				{Image: "docker.io/library/none:1", Error: "HTTP 404: manifest unknown"},
				{Image: "ghcr.io/acme/app:v1", Skipped: warm.HeldQuota},
				{Image: "quay.io/acme/tool:2", OK: true, Stale: true, Blobs: 5, Bytes: 90 << 20},
				{Image: "registry.k8s.io/pause:3.9", OK: true, Blobs: 2, Bytes: 700 << 10},
			}},
		},
		{Images: []string{"docker.io/library/postgres:17"}, Platforms: []string{}, EveryS: 24 * 3600, Jobs: 4, Next: in(40 * time.Second)},
		{Images: []string{"docker.io/library/golang:1.26"}, Platforms: []string{}, EveryS: 12 * 3600, Jobs: 4, Running: true, Runs: 1, Last: &warm.Run{At: now.Add(-12 * time.Hour), TookS: 4, OK: true, Images: []warm.Result{{Image: "docker.io/library/golang:1.26", OK: true, Blobs: 9, Bytes: 300 << 20}}}},
	}
}
