package daemon_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
)

// burst asks for path n times at once and returns the answers.
func (r *rig) burst(n int, path string) []reply {
	r.t.Helper()
	out := make([]reply, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { out[i] = r.get(path) })
	}
	wg.Wait()
	return out
}

// trip pulls manifests, each of another image, until the breakers of these lanes are
// open.
func (p *pair) trip(names ...string) {
	p.t.Helper()
	for range 20 {
		if !slices.ContainsFunc(names, func(name string) bool { return p.breaker(name, "manifest").State != "open" }) {
			return
		}
		p.get(p.another().Path())
	}
	p.t.Fatalf("after 20 failures the breakers of %v are not all open", names)
}

// wantOutage fails the test unless got is the answer to a pull that no path
// could serve, and says so of each of them.
func (p *pair) wantOutage(got reply, code string) {
	p.t.Helper()
	e := p.wantError(got, http.StatusServiceUnavailable, "UNAVAILABLE").Errors[0]
	if s, err := strconv.Atoi(got.Header.Get("Retry-After")); err != nil || s < 1 {
		p.t.Errorf("Retry-After %q, want some seconds", got.Header.Get("Retry-After"))
	}
	for _, name := range []string{"a", "b"} {
		recorded := false
		for _, a := range e.Detail.Attempts {
			recorded = recorded || a.Upstream == name && a.Code == code
		}
		if !recorded {
			p.t.Errorf("the detail does not say that %s failed by %s: %+v", name, code, e.Detail.Attempts)
		}
		if !strings.Contains(e.Message, name+" "+code) {
			p.t.Errorf("the message does not say that %s failed by %s: %q", name, code, e.Message)
		}
	}
}

// When every path is closed and may be overridden, a burst of pulls of one image makes
// one try at each, once more where the first was a moment's failure, and all of them
// learn what came of it. Another image has its own.
func TestF38_OneForcedTry(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	for _, m := range []*simnet.Mirror{p.a, p.b} {
		m.Inject(simnet.Fault{On: simnet.Manifests, Status: http.StatusInternalServerError, Delay: 20 * time.Millisecond})
	}
	p.trip("a", "b")
	before := map[string]int{"a": p.asked("a", "", simnet.Manifests), "b": p.asked("b", "", simnet.Manifests)}
	for _, got := range p.burst(60, p.image.Path()) {
		p.wantOutage(got, string(pullchain.CodeServerError))
	}
	for _, name := range []string{"a", "b"} {
		p.wantAsked(name, "", simnet.Manifests, before[name]+2)
	}
	p.wantOutage(p.get(p.another().Path()), string(pullchain.CodeServerError))
	for _, name := range []string{"a", "b"} {
		p.wantAsked(name, "", simnet.Manifests, before[name]+4)
	}
	if s := p.Daemon.Snapshot(); s.Find("docker.io").Pullable {
		t.Error("the chain calls itself pullable, with every path closed")
	}
}

// The forced try that goes well lets the others follow: an open breaker of a
// path that works again is no outage.
func TestF38_ForcedTryThatGoesWell(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	for _, m := range []*simnet.Mirror{p.a, p.b} {
		m.Inject(simnet.Fault{On: simnet.Manifests, Status: http.StatusInternalServerError})
	}
	p.trip("a", "b")
	p.a.Clear()
	for _, got := range p.burst(20, p.image.Path()) {
		if got.Status != http.StatusOK || got.servedBy() != "a" {
			t.Errorf("status %d served by %q, want 200 by a", got.Status, got.servedBy())
		}
	}
}

// What every path failed for a moment is asked for once more, of the first of them: a
// client that goes straight there would do no more than try again.
func TestF38_OnceMore(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault simnet.Fault
		class string
	}{
		"500":         {simnet.Fault{On: simnet.Manifests, Status: http.StatusInternalServerError}, "manifest"},
		"500, blob":   {simnet.Fault{On: simnet.Blobs, Status: http.StatusInternalServerError}, "blob"},
		"wrong bytes": {simnet.Fault{On: simnet.Blobs, Flip: true, FlipAt: 60}, "blob"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, nil)
			p.probed("a", "b")
			for _, m := range []*simnet.Mirror{p.a, p.b} {
				once := tc.fault
				once.Times = 1
				m.Inject(once)
			}
			p.wantServedBy(p.first(tc.class), "a")
			p.wantAsked("a", http.MethodGet, tc.fault.On, 2)
			p.wantAsked("b", http.MethodGet, tc.fault.On, 1)
		})
	}
}

// The final error is the client's at once, without a wait for better times. The
// goal is 50 ms, and a second is far less than anything that could be waited for.
func TestF38_AnswersAtOnce(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.a.Break(simnet.ConnRefused)
	p.b.Break(simnet.ConnRefused)
	best := time.Hour // of several: the machine may be busy, the rule is ours
	for range 12 {
		got := p.get(p.image.Path())
		p.wantOutage(got, string(pullchain.CodeConnRefused))
		best = min(best, got.Took)
	}
	if best > time.Second {
		t.Errorf("the quickest answer took %v, want 50 ms or so", best)
	}
}

// F38 A lane that has sent wrong bytes of several images may have the next one right,
// and its digest tells: where no other is left it is asked.
func TestF38_TheLastPathMayBeQuarantined(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	undo := p.a.Inject(simnet.Fault{On: simnet.Manifests, Flip: true, FlipAt: 60})
	for range 3 { // as many repositories as it takes to quarantine a lane
		p.wantServedBy(p.byDigest(p.another()), "b")
	}
	p.wantGate("a", "manifest", "quarantine", pullchain.CodeDigestMismatch)
	undo()
	p.b.Inject(simnet.Fault{On: simnet.Manifests, Status: http.StatusBadGateway})
	p.wantServedBy(p.byDigest(p.another()), "a")
	p.wantGate("a", "manifest", "quarantine", pullchain.CodeDigestMismatch) // an answer is no proof of right bytes
}

// What is closed for wrong bytes, or until a time that it named, is not forced.
func TestF38_NotEverythingIsForced(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]simnet.Fault{
		"named time": simnet.TooManyAfter(time.Hour, false),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, nil)
			fault.On = simnet.Manifests
			p.a.Inject(fault)
			p.b.Inject(simnet.Fault{On: simnet.Manifests, Status: http.StatusBadGateway})
			p.trip("b") // by more images than it takes to make a limit the lane's
			asked := p.asked("a", "", simnet.Manifests)
			if asked != 3 {
				t.Errorf("a was asked %d times, want once for each image until it was clear that it meant all", asked)
			}
			before := p.asked("b", "", simnet.Manifests)
			for _, got := range p.burst(20, p.image.Path()) {
				p.wantError(got, http.StatusServiceUnavailable, "UNAVAILABLE")
			}
			p.wantAsked("a", "", simnet.Manifests, asked)
			p.wantAsked("b", "", simnet.Manifests, before+2)
		})
	}
}

// probing is a pair whose first path is probed every second, and trips soon.
func probing(t *testing.T, open time.Duration) *pair {
	t.Helper()
	return newPair(t, func(c *rigConfig) {
		c.Chain[0].Probe = "interval = \"1s\"\nidle_interval = \"1s\"\nurgent_interval = \"1s\""
		c.Chain[0].Tables = fmt.Sprintf("[registry.upstream.breaker]\nfailures = 2\nopen = %q", open)
	})
}

// A path that fails again at every second look is left alone for longer each
// time and is recorded apart; users see none of it.
func TestF39_Flapping(t *testing.T) {
	t.Parallel()
	const open = 500 * time.Millisecond
	p := probing(t, open)
	p.manifest() // something that the prober can ask for again
	p.a.Inject(simnet.Fault{On: simnet.Manifests, Status: http.StatusInternalServerError})
	p.trip("a")
	pulls := p.asked("a", http.MethodGet, simnet.Manifests)
	if n := p.breaker("a", "manifest").Trips; n != 1 {
		t.Fatalf("%d trips, want 1", n)
	}
	var before time.Time // the third trip
	p.eventually("the third trip", func() bool {
		now := time.Now()
		if got := p.manifest(); got.servedBy() != "b" {
			t.Errorf("served by %q, want b", got.servedBy())
		}
		if p.breaker("a", "manifest").Trips >= 3 {
			return true
		}
		before = now
		return false
	})
	b := p.breaker("a", "manifest")
	if b.State != "open" || b.Until == nil {
		t.Fatalf("after the third trip: %+v, want it open", b)
	}
	if b.Until.Sub(before) < 3*open || time.Until(*b.Until) > 3*open {
		t.Errorf("the third time it is open until %v after a moment before it, want %v", b.Until.Sub(before), 3*open)
	}
	if a := p.lane("a"); !a.Flapping {
		t.Error("a is not called flapping")
	}
	p.wantAsked("a", http.MethodGet, simnet.Manifests, pulls) // it was the prober that found out
}

// A half-open path is tried by its prober alone, by HEAD, one at a time; users
// neither wait for it nor pay for it.
func TestF41_HalfOpenIsTheProbers(t *testing.T) {
	t.Parallel()
	p := probing(t, 200*time.Millisecond)
	p.manifest()
	undo := p.a.Inject(simnet.Fault{On: simnet.Manifests, Status: http.StatusInternalServerError})
	p.trip("a")
	undo()
	pulls, heads := p.asked("a", http.MethodGet, simnet.Manifests), p.asked("a", http.MethodHead, simnet.Manifests)
	halfOpen := 0
	p.eventually("the prober closes the breaker", func() bool {
		if p.lane("a").State == "half_open" {
			halfOpen++
		}
		for _, got := range p.burst(10, p.image.Path()) {
			if got.Status != http.StatusOK || got.servedBy() != "b" {
				t.Errorf("status %d served by %q, want 200 by b", got.Status, got.servedBy())
			}
		}
		return p.breaker("a", "manifest").State == "closed"
	})
	if halfOpen == 0 {
		t.Error("a was never seen half-open: nothing was tested")
	}
	p.wantAsked("a", http.MethodGet, simnet.Manifests, pulls)
	if n := p.asked("a", http.MethodHead, simnet.Manifests) - heads; n < 3 || n > 4 {
		t.Errorf("the prober sent %d HEADs, want the three that close a breaker", n)
	}
}
