package cli

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/simnet"
)

// The faults that can be thrown from the page, in the order of its buttons.
const (
	faultQuota   = "quota"   // 429
	faultError   = "error"   // 503
	faultStall   = "stall"   // layers stop in the middle
	faultRefuse  = "refuse"  // nothing listens
	faultCorrupt = "corrupt" // one bit of each layer is wrong
	faultSlow    = "slow"    // late, and then little by little
)

var demoFaults = []string{admin.NoFault, faultQuota, faultError, faultStall, faultRefuse, faultCorrupt, faultSlow}

// The figures of the faults: a reader is to see what each does, within a breath.
const (
	demoPause = 5 * time.Second // that a 429 asks for
	demoLate  = time.Second
	demoRate  = 256 << 10 // bytes a second
)

// switches are the demo's faults as [admin.Demo] shows and throws them.
type switches struct {
	w *world

	mu   sync.Mutex
	on   map[string]string // by upstream; none is NoFault
	undo map[string]func()
}

func newSwitches(w *world) *switches {
	return &switches{w: w, on: map[string]string{}, undo: map[string]func(){}}
}

// Switches are the upstreams and the fault of each.
func (s *switches) Switches() []admin.Switch {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []admin.Switch
	for _, u := range s.w.chain() {
		one := admin.Switch{Upstream: u.name, Fault: admin.NoFault, Faults: slices.Clone(demoFaults)}
		if f := s.on[u.name]; f != "" {
			one.Fault = f
		}
		out = append(out, one)
	}
	return out
}

// Throw puts a fault on an upstream in the place of the one that it has.
func (s *switches) Throw(_ context.Context, upstream, fault string) error {
	servers := s.w.serversOf(upstream)
	if servers == nil || !slices.Contains(demoFaults, fault) {
		return fmt.Errorf("%w: %q of %q", admin.ErrNoSwitch, fault, upstream)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mendLocked(upstream)
	if fault == admin.NoFault {
		return nil
	}
	s.on[upstream], s.undo[upstream] = fault, s.w.spoil(upstream, servers, fault)
	return nil
}

// mend takes all faults off.
func (s *switches) mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.w.chain() {
		s.mendLocked(u.name)
	}
}

// mendLocked takes the fault off an upstream. An upstream that sent wrong bytes is in
// quarantine for hours, which no reader of a demo wants to wait for: it is forgotten,
// as an operator does after a repair.
func (s *switches) mendLocked(upstream string) {
	if undo := s.undo[upstream]; undo != nil {
		undo()
	}
	if s.on[upstream] == faultCorrupt {
		_, _ = s.w.daemon.Act(context.Background(), admin.Action{Kind: admin.KindReset, Registry: demoRegistry, Upstream: upstream, Actor: "demo"}) // it is there
	}
	delete(s.on, upstream)
	delete(s.undo, upstream)
}

// serversOf are the servers behind an upstream: the registry's blobs leave by its CDN.
func (w *world) serversOf(upstream string) []*simnet.Server {
	switch upstream {
	case "docker-hub":
		return []*simnet.Server{w.hub.Server, w.hub.CDN.Server}
	case "cf-worker":
		return []*simnet.Server{w.relay.Server}
	case "mirror":
		return []*simnet.Server{w.mirrors[0].Server}
	case "second-mirror":
		return []*simnet.Server{w.mirrors[1].Server}
	}
	return nil
}

// spoil plays a fault on servers, and returns what ends it.
func (w *world) spoil(upstream string, servers []*simnet.Server, fault string) (undo func()) {
	if fault == faultQuota && upstream == "docker-hub" { // the quota that it has, spent
		w.hub.SetRemaining(ourAddress, 0)
		return func() { w.hub.SetRemaining(ourAddress, demoQuota) }
	}
	if fault == faultStall || fault == faultCorrupt { // of what holds the layers; a registry only says where they are
		servers = servers[len(servers)-1:]
	}
	var undos []func()
	for _, s := range servers {
		if fault == faultRefuse {
			s.Break(simnet.ConnRefused)
			undos = append(undos, s.Mend)
			continue
		}
		undos = append(undos, s.Inject(faultOf(fault)))
	}
	return func() {
		for _, f := range undos {
			f()
		}
	}
}

// faultOf is what a server does wrong.
func faultOf(fault string) simnet.Fault {
	const content = simnet.Manifests | simnet.Blobs
	switch fault {
	case faultQuota:
		f := simnet.TooManyAfter(demoPause, false)
		f.On = content
		return f
	case faultError:
		return simnet.Fault{Status: 503, Body: "the demo's fault"}
	case faultStall:
		return simnet.Fault{On: simnet.Blobs, Cut: simnet.EndStall, CutFraction: 0.4}
	case faultCorrupt:
		return simnet.Fault{On: simnet.Blobs, Flip: true, FlipAt: 12345}
	}
	return simnet.Fault{On: content, Delay: demoLate, BytesPerSec: demoRate}
}
