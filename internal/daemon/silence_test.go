package daemon

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/healthcheck"
	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/diagnose"
)

// A cable is a network that may drop packets: a dial then ends after five seconds, as
// upstreams have it.
type cable struct {
	mu   sync.Mutex
	open chan struct{} // closed: packets get through
}

func (w *cable) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = make(chan struct{})
}

func (w *cable) mend() { close(w.open) }

// pass waits until a packet gets through and is answered.
func (w *cable) pass(ctx context.Context, upstream string) error {
	w.mu.Lock()
	open := w.open
	w.mu.Unlock()
	select {
	case <-open:
		return nil
	case <-time.After(5 * time.Second):
	case <-ctx.Done():
	}
	return &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeConnTimeout, Reach: pullchain.ReachLane, Upstream: upstream}
}

// A far upstream answers over a cable.
type far struct {
	scripted
	cable *cable
	name  string
}

func (f *far) Name() string                   { return f.name }
func (f *far) Ping(ctx context.Context) error { return f.cable.pass(ctx, f.name) }
func (f *far) Fetch(ctx context.Context, _ pullchain.Request) (pullchain.Response, error) {
	if err := f.cable.pass(ctx, f.name); err != nil {
		return pullchain.Response{}, err
	}
	return pullchain.Response{Status: 200, Size: 2, Digest: digest.FromString("{}"), Body: pullchain.BytesBody(nil)}, nil
}

// overCable runs a daemon of four registries with an upstream each, without listeners.
func overCable(t *testing.T, w *cable, play func(*Daemon)) {
	cfg, err := config.Parse("x.toml", []byte(twoUpstreams), nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := &chain{cfg: cfg, events: balancer.NewEvents(), paths: map[pathID]*path{}}
	for i := range 4 {
		name := fmt.Sprintf("r%d.example", i)
		lane := balancer.NewLane(&far{cable: w, name: "up"}, balancer.LaneConfig{Resolve: true, Host: name})
		c.paths[pathID{name, "up"}] = &path{lane: lane}
		c.registries = append(c.registries, registry{
			name: name, upstreams: []string{"up"},
			balancer: balancer.New(balancer.Config{Registry: name, Lanes: []*balancer.Lane{lane}, Events: c.events}),
			checker:  healthcheck.New([]healthcheck.Job{{Target: lane}}, nil),
			probing:  new(probing),
		})
	}
	d.chain.Store(c)
	ctx, stop := context.WithCancel(t.Context())
	c.start(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { d.watchForAlarms(ctx) })
	watching.Go(func() { d.watchForSilence(ctx) })
	play(d)
	stop()
	watching.Wait()
	for _, r := range c.registries {
		r.probing.stop()
		r.probing.done.Wait()
	}
}

// network is the warning that there is none; nil if it is not told.
func (d *Daemon) network() *diagnose.Warning {
	for _, w := range d.Snapshot().Warnings {
		if w.Code == diagnose.NoNetwork {
			return &w
		}
	}
	return nil
}

// A start into a network that drops packets: within three seconds people are told that
// nothing answers, and once the dials have failed that this is so.
func TestSilentFromTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := new(cable)
		w.cut()
		overCable(t, w, func(d *Daemon) {
			time.Sleep(time.Second)
			if n := d.network(); n != nil {
				t.Errorf("after a second: %+v", n)
			}
			time.Sleep(2 * time.Second)
			n := d.network()
			if n == nil || !n.Unproved || len(n.Affects) < 3 {
				t.Fatalf("after three seconds: %+v", n)
			}
			if s := d.Snapshot(); s.Registries[0].Lanes[0].Code != "" || !s.Registries[0].Lanes[0].Eligible {
				t.Errorf("a gate hangs on it: %+v", s.Registries[0].Lanes[0])
			}
			since := n.Since
			time.Sleep(4 * time.Second)
			if n = d.network(); n == nil || n.Unproved || n.Since.After(since) {
				t.Errorf("after seven seconds: %+v, known since %v", n, since)
			}
		})
	})
}

// A network that falls silent under one pull: the others are asked, which finds out in
// three seconds that it is not that registry alone; and what comes at last ends the guess.
func TestFallsSilentUnderAPull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := new(cable)
		w.cut()
		w.mend()
		overCable(t, w, func(d *Daemon) {
			time.Sleep(time.Minute) // all is well
			if n := d.network(); n != nil {
				t.Fatalf("while all is well: %+v", n)
			}
			w.cut()
			pull := make(chan error)
			go func() {
				_, err := d.chain.Load().registries[0].balancer.Fetch(t.Context(), pullchain.Request{Op: pullchain.Manifest, Registry: "r0.example", Repo: "library/app", Tag: "1"})
				pull <- err
			}()
			time.Sleep(3 * time.Second)
			if n := d.network(); n == nil || !n.Unproved {
				t.Errorf("after three seconds: %+v", n)
			}
			w.mend()
			if err := <-pull; err != nil {
				t.Errorf("the pull: %v", err)
			}
			synctest.Wait()
			if n := d.network(); n != nil {
				t.Errorf("after the answers: %+v", n)
			}
		})
	})
}
