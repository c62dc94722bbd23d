package balancer_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
)

// limitedFor asks to be left alone for d.
func limitedFor(d time.Duration) fetchFunc {
	limited := quotaGone
	limited.RetryAfter = d
	return fail(limited)
}

// story tells events in short, with the time since began.
func story(events []balancer.Event, began time.Time) []string {
	var lines []string
	for _, e := range events {
		line := fmt.Sprintf("%v %s %s", e.At.Sub(began), e.Kind, e.Upstream)
		switch e.Kind {
		case balancer.KindTransition:
			line += " " + e.From + "->" + e.To
		case balancer.KindFailover:
			line += "->" + e.Failover.To
		}
		if e.Code != "" {
			line += " " + string(e.Code)
		}
		lines = append(lines, line)
	}
	return lines
}

func checkStory(t *testing.T, events *balancer.Events, began time.Time, want ...string) {
	t.Helper()
	got, _, lost := events.Since(0)
	if diff := cmp.Diff(want, story(got, began)); diff != "" || lost {
		t.Errorf("lost: %v, events (-want +got):\n%s", lost, diff)
	}
}

// A state is as old as what caused it, however long it was not looked at, and one
// that another has ended by itself begins when that one ended.
func TestSinceIsWhenItHappened(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(limitedFor(30*time.Minute), serve)
		time.Sleep(time.Minute)
		closed := time.Now()
		r.mustGet(t, tag)
		time.Sleep(20 * time.Minute)
		if s := r.state(0); s.State != balancer.StateCooling || !s.Since.Equal(closed) {
			t.Errorf("%q since %v, want since %v", s.State, s.Since, closed)
		}
		if s := r.state(1); s.State != balancer.StateServing || !s.Since.Equal(closed) {
			t.Errorf("the other is %q since %v, want since %v", s.State, s.Since, closed)
		}
		time.Sleep(20 * time.Minute) // ten of them after the cooldown
		if s := r.state(0); s.State != balancer.StateServing || !s.Since.Equal(closed.Add(30*time.Minute)) {
			t.Errorf("%q since %v, want since %v", s.State, s.Since, closed.Add(30*time.Minute))
		}
	})
}

// Several states in a row that end by time, without a look at any of them.
func TestABreakersWayBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r := newRig(serve, serve)
		r.mustGet(t, byDigest) // which a prober can repeat
		r.lanes[0].SetProbeResult(true, nil)
		r.ups[0].become(fail(internal))
		for i := range 5 {
			r.mustGet(t, of(i, byDigest))
		}
		time.Sleep(time.Hour)
		checkStory(t, r.Events(), began,
			"0s transition a unknown->serving",
			"0s transition b unknown->standby",
			"0s failover a->b http_5xx",
			"0s failover a->b http_5xx",
			"0s failover a->b http_5xx",
			"0s failover a->b http_5xx",
			"0s transition a serving->open http_5xx",
			"0s transition b standby->serving",
			"0s failover a->b http_5xx",
			"30s transition a open->half_open http_5xx",
			"45s transition a half_open->standby",
		)
	})
}

// What happens to one registry and ends by itself comes before what happens to
// another later, although it was recorded because of that.
func TestEventsAreInTheOrderOfTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		events := balancer.NewEvents()
		began := time.Now()
		hub := newRigFor(balancer.Config{Registry: "docker.io", Events: events}, limitedFor(time.Minute))
		quay := newRigFor(balancer.Config{Registry: "quay.io", Events: events}, serve)
		hub.get(t.Context(), tag)
		time.Sleep(time.Hour)
		quay.mustGet(t, byDigest)
		hub.lanes[0].SetAdminState(balancer.Drained, time.Time{})
		checkStory(t, events, began,
			"0s transition a unknown->serving",
			"0s transition a serving->cooling http_429_quota",
			"1m0s transition a cooling->serving",
			"1h0m0s transition a unknown->serving",
			"1h0m0s transition a serving->drained admin",
		)
		all, next, _ := events.Since(0)
		for i, e := range all {
			if e.Seq != all[0].Seq+uint64(i) {
				t.Errorf("event %d has the number %d after %d", i, e.Seq, all[0].Seq)
			}
		}
		if next != all[len(all)-1].Seq {
			t.Errorf("to go on from %d", next)
		}
		rest, _, lost := events.Since(all[2].Seq)
		if len(rest) != 2 || rest[0].Registry != "quay.io" || lost {
			t.Errorf("after the third: %+v, lost: %v", rest, lost)
		}
	})
}

func newRigFor(cfg balancer.Config, fetches ...fetchFunc) *rig {
	r := newRig(fetches...)
	cfg.Lanes = r.lanes[:0]
	for i, f := range r.ups {
		cfg.Lanes = append(cfg.Lanes, balancer.NewLane(f, balancer.LaneConfig{Resolve: true, Authoritative: i == 0}))
	}
	r.Balancer = balancer.New(cfg)
	return r
}

// A proxy that all registries share changes the states of all their lanes.
func TestASharedEgressChangesEveryRegistry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		events, shared := balancer.NewEvents(), balancer.NewEgress()
		chains := map[string]*balancer.Balancer{}
		for _, registry := range []string{"docker.io", "quay.io"} {
			l := balancer.NewLane(&fake{name: registry, fetch: fail(proxyDead)}, balancer.LaneConfig{Resolve: true, Egress: shared})
			chains[registry] = balancer.New(balancer.Config{Registry: registry, Events: events, Lanes: []*balancer.Lane{l}})
		}
		time.Sleep(time.Minute)
		closed := time.Now()
		chains["docker.io"].Fetch(t.Context(), tag)
		time.Sleep(5 * time.Second)
		s := chains["quay.io"].Snapshot().Lanes[0]
		if s.State != balancer.StateDown || !s.Since.Equal(closed) {
			t.Errorf("%q since %v, want since %v", s.State, s.Since, closed)
		}
	})
}

func TestForcedTriesAreEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(fail(internal))
		for i := range 5 {
			r.get(t.Context(), of(i, tag))
		}
		_, seq, _ := r.Events().Since(0)
		time.Sleep(2 * time.Second)
		r.get(t.Context(), tag)
		time.Sleep(2 * time.Second)
		r.ups[0].become(serve)
		r.mustGet(t, tag)
		var codes []pullchain.Code
		events, _, _ := r.Events().Since(seq)
		for _, e := range events {
			if e.Kind == balancer.KindForced {
				codes = append(codes, e.Code)
			}
		}
		if want := []pullchain.Code{pullchain.CodeServerError, ""}; !slices.Equal(codes, want) {
			t.Errorf("forced tries ended in %q, want %q: %v", codes, want, story(events, time.Now()))
		}
	})
}

// Each kind is bounded for itself, and a reader that is too slow learns of it.
func TestEventsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone := missing
		gone.Final = false
		r := newRig(fail(gone), serve)
		r.mustGet(t, tag)
		_, seq, _ := r.Events().Since(0)
		for i := range 150 {
			req := tag
			req.Tag = fmt.Sprint(i)
			r.mustGet(t, req)
		}
		kinds := map[balancer.EventKind]int{}
		events, next, lost := r.Events().Since(seq)
		for _, e := range events {
			kinds[e.Kind]++
		}
		if !lost || kinds[balancer.KindFailover] != 100 || len(events) != 100 {
			t.Errorf("lost: %v, %v", lost, kinds)
		}
		if events, _, _ := r.Events().Since(0); events[0].Kind != balancer.KindTransition {
			t.Errorf("the first transition was washed away by failovers: the first is %+v", events[0])
		}
		if _, _, lost := r.Events().Since(next - 100); lost {
			t.Error("a reader that was just in time is told that it lost something")
		}
		if s := r.Snapshot(); len(s.Failovers) != 100 || s.FailoversTotal != 150 || s.Failovers[0].Image != "docker.io/library/app:149" {
			t.Errorf("%d of %d failovers, the newest %+v", len(s.Failovers), s.FailoversTotal, s.Failovers[0])
		}
		for _, other := range []uint64{1, next + 1} { // a reader that comes from another process
			if events, _, lost := r.Events().Since(other); !lost || len(events) == 0 {
				t.Errorf("after %d: %d events, lost: %v", other, len(events), lost)
			}
		}
	})
}

// A reader that waits is woken by what happens and by what ends, and by nothing else.
func TestWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r := newRig(limitedFor(time.Hour), serve)
		var got []balancer.Event
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() {
			_, seq, _ := r.Events().Since(0)
			for {
				if err := r.Events().Wait(ctx, seq); err != nil {
					done <- err
					return
				}
				var events []balancer.Event
				events, seq, _ = r.Events().Since(seq)
				for _, e := range events {
					if !e.At.Equal(time.Now()) {
						t.Errorf("%+v is told of %v late", e, time.Since(e.At))
					}
				}
				got = append(got, events...)
			}
		}()
		time.Sleep(time.Minute)
		r.mustGet(t, byDigest)
		synctest.Wait()
		time.Sleep(2 * time.Hour)
		enough := errors.New("enough")
		cancel(enough)
		if err := <-done; err != enough {
			t.Errorf("the wait ended with %v", err)
		}
		want := []string{
			"1m0s transition a unknown->serving",
			"1m0s transition a serving->cooling http_429_quota",
			"1m0s transition b unknown->serving",
			"1m0s failover a->b http_429_quota",
			"1h1m0s transition a cooling->serving",
			"1h1m0s transition b serving->standby",
		}
		if diff := cmp.Diff(want, story(got, began)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A reload takes the events and the states along: those of lanes that stay are as
// old as they are. One that comes to nothing changes nothing.
func TestEventsSurviveAReload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(limitedFor(24*time.Hour), serve)
		closed := time.Now()
		r.mustGet(t, tag)
		_, seq, _ := r.Events().Since(0)
		time.Sleep(time.Hour)

		failed := balancer.New(balancer.Config{Registry: "docker.io", Previous: r.Balancer})
		r.lanes[1].SetAdminState(balancer.Drained, time.Time{})
		events, seq, lost := r.Events().Since(seq)
		if len(events) != 1 || events[0].To != balancer.StateDrained || lost {
			t.Errorf("after a reload that failed: %+v, lost: %v", events, lost)
		}

		added := balancer.NewLane(&fake{name: "new", fetch: serve}, balancer.LaneConfig{Resolve: true})
		next := balancer.New(balancer.Config{Registry: "docker.io", Lanes: []*balancer.Lane{r.lanes[0], added}, Previous: r.Balancer})
		s := next.Snapshot()
		if s := s.Lanes[0]; s.State != balancer.StateCooling || !s.Since.Equal(closed) {
			t.Errorf("%q since %v, want since %v", s.State, s.Since, closed)
		}
		if s := s.Lanes[1]; s.State != balancer.StateUnknown || !s.Since.Equal(time.Now()) {
			t.Errorf("the new one is %q since %v", s.State, s.Since)
		}
		if len(s.Failovers) != 1 || s.FailoversTotal != 1 {
			t.Errorf("failovers %+v", s.Failovers)
		}
		r.lanes[1].SetAdminState("", time.Time{}) // which the chain has no more
		r.lanes[0].SetAdminState(balancer.Disabled, time.Time{})
		if events, _, lost := next.Events().Since(seq); len(events) != 1 || events[0].To != balancer.StateDisabled || lost {
			t.Errorf("after the reload: %+v, lost: %v", events, lost)
		}
		failed.Snapshot() // a request that came to it late
		r.lanes[0].SetAdminState("", time.Time{})
		if events, _, lost := next.Events().Since(seq); len(events) != 2 || events[1].To != balancer.StateCooling || lost {
			t.Errorf("after a late use of a Balancer between: %+v, lost: %v", events, lost)
		}
		if s := r.Snapshot().Lanes[1]; s.State != balancer.StateUnknown && s.State != balancer.StateServing {
			t.Errorf("the old chain shows %q", s.State)
		}
	})
}

// What probes find out of a lane that a reload has added is as old as it is, although
// no request has come since.
func TestALaneThatAReloadAddedIsProbedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(serve, serve)
		added := balancer.NewLane(&fake{name: "new", fetch: serve}, balancer.LaneConfig{Resolve: true})
		next := balancer.New(balancer.Config{Registry: "docker.io", Lanes: []*balancer.Lane{r.lanes[0], added}, Previous: r.Balancer})
		next.TakeOver()
		_, seq, _ := next.Events().Since(0)
		time.Sleep(time.Second)
		down := time.Now()
		added.SetProbeResult(false, errClosedPort)
		time.Sleep(20 * time.Minute)
		if events, _, _ := next.Events().Since(seq); len(events) != 1 || events[0].To != balancer.StateDown {
			t.Errorf("events %+v", events)
		}
		if s := next.Snapshot().Lanes[1]; s.State != balancer.StateDown || !s.Since.Equal(down) {
			t.Errorf("%q since %v, want since %v", s.State, s.Since, down)
		}
	})
}

// Pulls, probes, operators and readers at once: no event is lost or out of order.
func TestEventsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(cutAt(400_000), serve, fail(internal))
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			_, seq, _ := r.Events().Since(0)
			at := time.Time{}
			for {
				events, next, _ := r.Events().Since(seq)
				for _, e := range events {
					if e.Seq <= seq || e.At.Before(at) {
						t.Errorf("%d at %v came after %d at %v", e.Seq, e.At, seq, at)
					}
					seq, at = e.Seq, e.At
				}
				seq = next
				r.Snapshot()
				select {
				case <-stop:
					return
				default:
					runtime.Gosched()
				}
			}
		})
	}
	for i := range 4 {
		writers.Go(func() {
			for n := range 25 {
				r.get(t.Context(), blob)
				r.get(t.Context(), tag)
				switch i {
				case 0:
					r.lanes[0].SetAdminState(map[bool]balancer.AdminState{true: balancer.Drained}[n%2 == 0], time.Time{})
				case 1:
					r.lanes[1].SetProbeResult(n%2 == 0, errClosedPort)
				case 2:
					r.lanes[2].Probe(t.Context())
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}

// A reload may add a registry at the moment in which a proxy that others share fails,
// for which the lanes of all registries are looked at.
func TestARegistryIsAddedWhileAnEgressChanges(t *testing.T) {
	t.Parallel()
	events := balancer.NewEvents()
	var adding sync.WaitGroup
	adding.Go(func() {
		for i := range 5000 {
			balancer.New(balancer.Config{Registry: fmt.Sprint(i), Events: events})
		}
	})
	for range 200 {
		l := balancer.NewLane(&fake{name: "a", fetch: fail(proxyDead)}, balancer.LaneConfig{Resolve: true, Egress: balancer.NewEgress()})
		balancer.New(balancer.Config{Registry: "docker.io", Events: events, Lanes: []*balancer.Lane{l}}).Fetch(t.Context(), tag)
	}
	adding.Wait()
}

// What a reload takes out is forgotten, however often the names change; what is still
// there keeps its events.
func TestEventsOfWhatIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		events := balancer.NewEvents()
		kept := newRigFor(balancer.Config{Registry: "docker.io", Events: events}, fail(internal), serve)
		kept.mustGet(t, tag)
		_, upToDate, _ := events.Since(0)
		events.Record("", "", balancer.Override{Action: "reload"})
		var want []string
		for _, e := range mustSince(t, events, 0) {
			want = append(want, fmt.Sprint(e.Seq, e.Kind, e.Upstream))
		}
		for i := range 300 {
			gone := newRigFor(balancer.Config{Registry: fmt.Sprintf("%d.example", i), Events: events}, fail(internal), serve)
			gone.mustGet(t, tag)
			events.Retain(func(registry, upstream string) bool { return registry == "docker.io" && upstream != "c" })
		}
		all, next, lost := events.Since(upToDate)
		if len(all) != 1 || !lost {
			t.Errorf("a reader that was behind gets %d events, lost %t: want that of the reload, and to know that there were others", len(all), lost)
		}
		var got []string
		all, _, _ = events.Since(0)
		for _, e := range all {
			got = append(got, fmt.Sprint(e.Seq, e.Kind, e.Upstream))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("events (-want +got):\n%s", d)
		}
		if all, _, lost := events.Since(next); len(all) != 0 || lost {
			t.Errorf("a reader that has read all gets %v, lost %t", all, lost)
		}
	})
}

// mustSince returns the events after seq, of which none is lost.
func mustSince(t *testing.T, events *balancer.Events, seq uint64) []balancer.Event {
	t.Helper()
	all, _, lost := events.Since(seq)
	if lost {
		t.Fatal("events are lost")
	}
	return all
}
