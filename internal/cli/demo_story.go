package cli

import (
	"context"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/internal/snooze"
)

// A story is one round of the demo under way.
type story struct {
	*world
	tell   *narrator
	pulls  int // those that came through
	failed int // those that did not
}

// story returns the story of w, which is told to a.
func (w *world) story(a *app) *story { return &story{world: w, tell: newNarrator(a, w)} }

// play plays the acts in order. It ends early when ctx is done.
func (s *story) play(ctx context.Context) {
	for _, act := range []struct {
		title string // of the catalogue
		play  func(context.Context)
	}{
		{"demo.act.calm", s.calm},
		{"demo.act.quota", s.quota},
		{"demo.act.cut", s.cut},
		{"demo.act.relay", s.relayDies},
		{"demo.act.corrupt", s.corrupt},
		{"demo.act.mended", s.mended},
	} {
		if ctx.Err() != nil {
			return
		}
		s.tell.act(act.title)
		act.play(ctx)
	}
	if ctx.Err() == nil {
		s.tell.sum(s.pulls, s.failed)
	}
}

// stay goes on pulling, an image after the other, so that a fault that is
// thrown from the dashboard shows. It tells of what changes, and of pulls that fail.
func (s *story) stay(ctx context.Context) {
	s.switches.mend()
	if ctx.Err() == nil {
		s.tell.a.say("demo.stay", "dashboard", s.dashboard())
	}
	for i := 0; ctx.Err() == nil; i++ {
		if s.hub.Remaining(ourAddress) > 0 { // these pulls are not to spend what the story is about
			s.hub.SetRemaining(ourAddress, demoQuota)
		}
		img := s.images[i%len(s.images)]
		if _, err := s.puller.pull(ctx, img.Repo, img.Tags[0]); err != nil && ctx.Err() == nil {
			s.tell.failure(img.Repo+":"+img.Tags[0], err)
		}
		s.tell.changes()
		snooze.For(ctx, s.scaled(2*time.Second))
	}
}

// pull pulls an image, tells how that went, and takes a breath.
func (s *story) pull(ctx context.Context, which int) {
	img := s.images[which%len(s.images)]
	got, err := s.puller.pull(ctx, img.Repo, img.Tags[0])
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		s.failed++
		s.tell.failure(img.Repo+":"+img.Tags[0], err)
	default:
		s.pulls++
		s.tell.pull(got)
	}
	s.tell.changes()
	snooze.For(ctx, s.scaled(time.Second))
}

// ourAddress is whose quota the registry counts.
const ourAddress = "127.0.0.1"

// The images, by their place in world.images.
const (
	alpine = iota
	nginx
	postgres
)

// calm is before anything happens.
func (s *story) calm(ctx context.Context) {
	s.waitFor(ctx, func(lanes map[string]balancer.LaneSnapshot) bool { // so that the first probes are not news
		for _, l := range lanes {
			if l.State == balancer.StateUnknown {
				return false
			}
		}
		return true
	})
	s.tell.changes()
	for i := range 3 {
		s.pull(ctx, alpine+i)
	}
}

// quota spends what is left, as the others behind a company's one address do:
// the daemon learns of it by the registry's 429.
func (s *story) quota(ctx context.Context) {
	s.hub.SetRemaining(ourAddress, 0)
	for i := range 3 {
		s.pull(ctx, alpine+i)
	}
}

// cut breaks a layer off at 40 % on its way from the registry's CDN, once.
func (s *story) cut(ctx context.Context) {
	undo := s.hub.CDN.Inject(simnet.Fault{On: simnet.Blobs, Match: s.largest(postgres), Cut: simnet.EndFIN, CutFraction: 0.4, Times: 1})
	defer undo()
	s.pull(ctx, postgres)
}

// relayDies takes the relay away for good. Between the pulls the probes find
// that out: a pull alone holds the relay for a quarter of a second, and on a busy
// machine that is over before a reader looks.
func (s *story) relayDies(ctx context.Context) {
	s.relay.Break(simnet.ConnRefused)
	s.pull(ctx, nginx)
	s.waitFor(ctx, func(lanes map[string]balancer.LaneSnapshot) bool {
		relay := lanes["cf-worker"]
		return relay.State == balancer.StateDown && relay.Until == nil // a dial backoff would name its end
	})
	s.tell.changes()
	s.pull(ctx, postgres)
}

// corrupt has the first mirror turn one bit over in a layer, once, while the
// registry's CDN is gone, so that the mirror is asked for it.
func (s *story) corrupt(ctx context.Context) {
	s.hub.CDN.Break(simnet.ConnRefused)
	undo := s.mirrors[0].Inject(simnet.Fault{On: simnet.Blobs, Match: s.largest(postgres), Flip: true, FlipAt: 123456, Times: 1})
	defer undo()
	s.pull(ctx, postgres)
	s.pull(ctx, alpine)
}

// mended brings everything back and waits until the daemon has seen it.
func (s *story) mended(ctx context.Context) {
	s.switches.mend() // also what was thrown meanwhile
	s.hub.CDN.Mend()
	s.relay.Mend()
	s.hub.SetRemaining(ourAddress, demoQuota)
	s.waitFor(ctx, func(lanes map[string]balancer.LaneSnapshot) bool {
		return well(lanes["docker-hub"].State) && well(lanes["cf-worker"].State)
	})
	s.tell.changes()
	s.pull(ctx, nginx)
	s.tell.summary()
}

// largest is a part of the path of an image's largest layer.
func (s *story) largest(image int) string {
	best, _ := s.images[image].Layer(0)
	for i := range s.images[image].Layers {
		if d, _ := s.images[image].Layer(i); d.Size > best.Size {
			best = d
		}
	}
	return best.Digest.Encoded()
}

// patience is how long the story waits for something that should come by
// itself; then it goes on and tells things as they are. On a machine so busy that
// the daemon finds the quota spent a second and a third time before it is given
// back, that is the second default cooldown: a minute and a fifth (docs/faults.md F07),
// and the next probe.
const patience = 90 * time.Second

// waitFor waits until the lanes are as ready says.
func (s *story) waitFor(ctx context.Context, ready func(map[string]balancer.LaneSnapshot) bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for ctx.Err() == nil && !ready(s.tell.lanes()) {
		snooze.For(ctx, 50*time.Millisecond)
	}
}
