package daemon

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/healthcheck"
	"github.com/pullchain/pullchain/internal/guard"
	"github.com/pullchain/pullchain/internal/history"
)

// A scripted upstream answers tags at once, or with what is wrong with it.
type scripted struct {
	err atomic.Pointer[pullchain.Error]
}

func (*scripted) Name() string                      { return "hub" }
func (s *scripted) Ping(context.Context) error      { return s.wrong() }
func (*scripted) NeedsToken(pullchain.Request) bool { return false }
func (*scripted) Facts() pullchain.Facts            { return pullchain.Facts{} }
func (*scripted) Login() string                     { return "" }
func (s *scripted) Fetch(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
	if err := s.wrong(); err != nil {
		return pullchain.Response{}, err
	}
	return pullchain.Response{Status: 200, Size: 2, Digest: digest.FromString("{}"), Body: pullchain.BytesBody(nil)}, nil
}

func (s *scripted) wrong() error {
	if e := s.err.Load(); e != nil {
		return e
	}
	return nil
}

// chainOver is the chain of one registry with that upstream.
func chainOver(up balancer.Upstream) *chain {
	events := balancer.NewEvents()
	lane := balancer.NewLane(up, balancer.LaneConfig{Resolve: true})
	b := balancer.New(balancer.Config{Registry: "docker.io", Lanes: []*balancer.Lane{lane}, Events: events})
	checker := healthcheck.New([]healthcheck.Job{{Target: lane}}, nil)
	return &chain{events: events, registries: []registry{{name: "docker.io", balancer: b, checker: checker, probing: new(probing)}}}
}

// minutes returns the cells of the last hour of which something is known.
func (s *sampler) minutes() []history.Cell {
	return slices.DeleteFunc(s.rings.Cells("docker.io", "hub", history.Hour, time.Now()), func(c history.Cell) bool { return c.State == "" })
}

func TestSampler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "state")
		up := &scripted{}
		c := chainOver(up)
		b := c.registries[0].balancer
		ctx, stop := context.WithCancel(t.Context())
		s := openHistory(dir, slog.New(slog.DiscardHandler), nil)
		var ended bool
		go func() {
			s.run(ctx, func() *chain { return c })
			ended = true
		}()
		c.start(ctx)
		tag := pullchain.Request{Op: pullchain.Manifest, Head: true, Registry: "docker.io", Repo: "library/app", Tag: "1"}
		pull := func() {
			resp, err := b.Fetch(t.Context(), tag)
			if err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}
		pull()
		time.Sleep(6 * time.Second)
		if got := s.minutes(); len(got) != 1 || got[0].State != balancer.StateServing || got[0].OK != 1 || got[0].ProbesOK == 0 {
			t.Errorf("after the first sample: %+v", got)
		}

		// Refused for a quarter of a second, between two samples.
		time.Sleep(time.Minute)
		up.err.Store(&pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeConnRefused, Reach: pullchain.ReachLane, Upstream: "hub"})
		pull()
		up.err.Store(nil)
		time.Sleep(6 * time.Second)
		got := s.minutes()
		if last := got[len(got)-1]; last.State != balancer.StateDown || last.Code != string(pullchain.CodeConnRefused) || last.Failed == 0 {
			t.Errorf("a lane that was down for a moment: %+v", last)
		}
		if info, err := os.Stat(filepath.Join(dir, historyFile)); err != nil || info.Size() == 0 {
			t.Errorf("nothing was written within a minute: %v", err)
		}

		// What happens right before the end is there after a restart.
		pull()
		stop()
		synctest.Wait()
		if !ended {
			t.Fatal("it goes on")
		}
		c.close(nil)
		again := openHistory(dir, slog.New(slog.DiscardHandler), nil)
		if was, is := s.minutes(), again.minutes(); !slices.Equal(was, is) || is[len(is)-1].OK == 0 {
			t.Errorf("after a restart:\ngot  %+v\nwant %+v", is, was)
		}
	})
}

// A state directory that cannot be written costs nothing but what it would have kept, and
// says so once.
func TestSamplerWithoutADirectory(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openHistory(filepath.Join(file, "state"), slog.New(slog.NewTextHandler(&log, nil)), nil)
	s.save(time.Now())
	s.save(time.Now())
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	s.save(time.Now())
	s.save(time.Now())
	if n := strings.Count(log.String(), "cannot be kept"); n != 1 || strings.Count(log.String(), "is kept again") != 1 {
		t.Errorf("the log:\n%s", log.String())
	}
	memory := openHistory("", slog.New(slog.DiscardHandler), nil)
	memory.save(time.Now())
	memory.sample(time.Now(), chainOver(&scripted{}))
	if got := memory.minutes(); len(got) != 1 || got[0].State != balancer.StateUnknown {
		t.Errorf("in memory: %+v", got)
	}
}

// A sample that fails for a mistake of ours is told of, and the next one is taken.
func TestSamplerGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c, g := chainOver(&scripted{}), guard.New(slog.New(slog.NewTextHandler(&log, nil)))
		s := openHistory("", slog.New(slog.DiscardHandler), g)
		ctx, stop := context.WithCancel(t.Context())
		looks := 0
		go s.run(ctx, func() *chain {
			if looks++; looks == 1 {
				return nil // what there never is
			}
			return c
		})
		time.Sleep(sampleEvery)
		synctest.Wait()
		if n := g.Counts()[guard.History]; n != 1 || len(s.minutes()) != 0 || !strings.Contains(log.String(), "(*sampler).sample") {
			t.Errorf("%d panics are counted, there are %v; the log:\n%s", n, s.minutes(), log.String())
		}
		time.Sleep(sampleEvery)
		synctest.Wait()
		if len(s.minutes()) != 1 {
			t.Errorf("later there are %v", s.minutes())
		}
		stop()
		synctest.Wait()
	})
}

// What an upstream's counters say becomes what its charts show.
func TestObservationTellsFailuresApart(t *testing.T) {
	t.Parallel()
	said := time.Now()
	l := balancer.LaneSnapshot{Upstream: "hub", State: balancer.StateServing, Quota: &balancer.QuotaSnapshot{Limit: 100, Remaining: 7, At: said}}
	l.Counts = balancer.LaneCounts{Received: 4096, Bodies: 3, LastRates: []float64{1e6, 2e6, 3e6}, Requests: []balancer.RequestCount{
		{Kind: "manifest", Outcome: balancer.OutcomeOK, N: 50},
		{Kind: "manifest", Outcome: balancer.OutcomeNotFound, N: 3}, {Kind: "blob", Outcome: balancer.OutcomeDenied, N: 1},
		{Kind: "manifest", Outcome: balancer.OutcomeRateLimited, N: 7},
		{Kind: "blob", Outcome: balancer.OutcomeStalled, N: 1}, {Kind: "blob", Outcome: balancer.OutcomeDigestMismatch, N: 1},
		{Kind: "blob", Outcome: balancer.OutcomeConnectError, N: 9}, {Kind: "blob", Outcome: balancer.OutcomeCanceled, N: 5},
	}}
	o := observation(l, healthcheck.TargetSnapshot{})
	if o.SaidNo != 4 || o.Limited != 7 || o.Broken != 2 {
		t.Errorf("said no %d, limited %d, broken %d", o.SaidNo, o.Limited, o.Broken)
	}
	if o.Received != 4096 || o.Rates.Total != 3 || len(o.Rates.Last) != 3 {
		t.Errorf("received %d bytes at %+v", o.Received, o.Rates)
	}
	if o.Quota == nil || *o.Quota != (history.Quota{Limit: 100, Remaining: 7, At: said}) {
		t.Errorf("quota %+v", o.Quota)
	}
}
