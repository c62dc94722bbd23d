package daemon

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
)

// Act does what an operator asks for, see [admin.Operator]. What is done is logged, with
// the actor.
func (d *Daemon) Act(ctx context.Context, a admin.Action) (admin.Outcome, error) {
	a, err := a.Check()
	if err != nil {
		return admin.Outcome{}, err
	}
	var done admin.Outcome
	switch a.Kind {
	case admin.KindReload:
		done, err = d.reloadNow(a)
	case admin.KindProbe:
		done, err = d.probe(ctx, a)
	default:
		done, err = d.change(a)
	}
	if err != nil {
		return admin.Outcome{}, err
	}
	d.log.Info("operator", "action", a.Kind, "actor", a.Actor, "registry", a.Registry, "upstream", a.Upstream, "order", a.Order,
		"ttl", a.TTL, "reason", a.Reason, "force", a.Force, "before", done.Before, "after", done.After)
	return done, nil
}

// change does what changes lanes and their order.
func (d *Daemon) change(a admin.Action) (admin.Outcome, error) {
	done, saves, err := d.changeLocked(a)
	if saves && err == nil {
		done.Kept = d.overrides.save()
	}
	return done, err
}

// changeLocked is change but for the file, which saves asks for. A reload that takes the
// path out meanwhile makes another lane of it, so it waits.
func (d *Daemon) changeLocked(a admin.Action) (done admin.Outcome, saves bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.chain.Load()
	t, err := c.target(a)
	if err != nil {
		return done, false, err
	}
	if err := t.allowed(a); err != nil {
		return done, false, err
	}
	done = admin.Outcome{Operation: a.Kind, Registry: a.Registry, Upstream: a.Upstream, Before: t.word(a.Kind)}
	now := time.Now()
	v := admin.Override{Kind: a.Kind, Registry: a.Registry, Upstream: a.Upstream, Order: a.Order, Actor: a.Actor, Reason: a.Reason, Forced: a.Force,
		At: now.Round(0)}
	told := balancer.Override{Action: string(a.Kind), Order: a.Order, Actor: a.Actor, Reason: a.Reason}
	if a.TTL > 0 {
		v.ExpiresAt = now.Add(a.TTL) // by both clocks: an hour is over although the machine has slept
		told.Until, done.ExpiresAt = &v.ExpiresAt, &v.ExpiresAt
		done.TOML = c.permanent(a)
	}
	c.events.Record(a.Registry, a.Upstream, told) // before what comes of it
	switch undone, undoes := undoing[a.Kind]; {
	case a.TTL > 0:
		d.overrides.set(v)
		c.apply(v)
		saves = true
	case undoes:
		v.Kind = undone
		d.overrides.drop(func(was admin.Override) bool { return sameSlot(was, v) })
		c.cancel(v)
		saves = true
	default:
		forget[a.Kind](t.registry.balancer, t.path.lane)
	}
	done.After = t.word(a.Kind)
	if t.path != nil {
		done.InFlight = t.lane().InFlight
	}
	return done, saves, nil
}

// undoing is which override a kind ends. A drain and a disable are in one place.
var undoing = map[admin.Kind]admin.Kind{
	admin.KindEnable:  admin.KindDrain,
	admin.KindUnpin:   admin.KindPin,
	admin.KindReorder: admin.KindReorder, // to no order
}

// forget is what the kinds forget that make a lane forget something.
var forget = map[admin.Kind]func(*balancer.Balancer, *balancer.Lane){
	admin.KindReset:          (*balancer.Balancer).Reset,
	admin.KindResetBreaker:   func(_ *balancer.Balancer, l *balancer.Lane) { l.ResetBreakers() },
	admin.KindClearCooldown:  func(_ *balancer.Balancer, l *balancer.Lane) { l.ClearCooldowns() },
	admin.KindLiftQuarantine: func(_ *balancer.Balancer, l *balancer.Lane) { l.LiftQuarantine() },
}

// A target is what an action is about: a registry, and one of its paths or none.
type target struct {
	registry registry
	path     *path // nil for all of the registry
	name     string
}

// target finds what a is about. The error is an *admin.Refusal.
func (c *chain) target(a admin.Action) (target, error) {
	t := target{registry: c.registryNamed(a.Registry), name: a.Upstream}
	if t.registry.balancer == nil {
		return t, admin.ErrNoRegistry(a.Registry)
	}
	if wholeRegistry[a.Kind] && a.Upstream == "" {
		return t, nil
	}
	if t.path = c.known(pathID{a.Registry, a.Upstream}); t.path == nil {
		return t, admin.ErrNoUpstream(a.Registry, a.Upstream)
	}
	return t, nil
}

// wholeRegistry are the kinds that can be about all of a registry.
var wholeRegistry = map[admin.Kind]bool{admin.KindUnpin: true, admin.KindReorder: true, admin.KindProbe: true}

// allowed reports why a must not be done, or nil.
func (t target) allowed(a admin.Action) error {
	_, undoes := undoing[a.Kind]
	switch {
	case laneKind(a.Kind) && !a.Force && !t.registry.balancer.PullableWithout(a.Upstream):
		return admin.ErrLeavesNone(a.Registry)
	case a.Kind == admin.KindReorder && len(a.Order) > 0 && !t.registry.permutes(a.Order):
		return &admin.Refusal{Status: http.StatusBadRequest, Code: "bad_request",
			Detail: "order has to name each of these once: " + strings.Join(t.registry.upstreams, ", ")}
	case a.TTL == 0 && !undoes && forget[a.Kind] == nil:
		return &admin.Refusal{Status: http.StatusBadRequest, Code: "bad_request", Detail: "there is no such action"}
	}
	return nil
}

// lane is the path's lane as it stands.
func (t target) lane() balancer.LaneSnapshot {
	for _, l := range t.registry.balancer.Snapshot().Lanes {
		if l.Upstream == t.name {
			return l
		}
	}
	return balancer.LaneSnapshot{}
}

// word says how that which a kind changes stands: the state of a lane, the upstream that
// is pinned, the order.
func (t target) word(k admin.Kind) string {
	switch k {
	case admin.KindPin, admin.KindUnpin:
		return t.registry.balancer.Snapshot().Pinned
	case admin.KindReorder:
		if order := t.registry.balancer.Snapshot().Reordered; order != nil {
			return strings.Join(order, ", ")
		}
		return strings.Join(t.registry.upstreams, ", ")
	}
	if t.path == nil {
		return ""
	}
	return t.lane().State
}

// reloadNow reads the configuration again, as SIGHUP does.
func (d *Daemon) reloadNow(a admin.Action) (admin.Outcome, error) {
	if d.opts.Reload == nil {
		return admin.Outcome{}, &admin.Refusal{Status: http.StatusConflict, Code: "no_reload", Detail: "this daemon has no file to read again"}
	}
	before := d.Snapshot().Config
	if err := d.opts.Reload(); err != nil {
		return admin.Outcome{}, &admin.Refusal{Status: http.StatusUnprocessableEntity, Code: "config_invalid",
			Detail: "the old configuration stays: " + err.Error()}
	}
	d.chain.Load().events.Record("", "", balancer.Override{Action: string(a.Kind), Actor: a.Actor, Reason: a.Reason})
	return admin.Outcome{Operation: a.Kind, Before: before.LoadedAt.Format(time.RFC3339), After: d.Snapshot().Config.LoadedAt.Format(time.RFC3339)}, nil
}

// How often one upstream is probed because it is asked for, and how long the answer may take.
const (
	probeEvery   = 5 * time.Second
	probeAtMost  = 20 * time.Second
	probesAtOnce = 8
)

// probesAsked remembers when a probe of each upstream was last asked for.
type probesAsked struct {
	mu   sync.Mutex
	last map[pathID]time.Time
}

// take returns those of ids that may be probed now, and else when one may.
func (p *probesAsked) take(ids []pathID, now time.Time) (due []pathID, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, at := range p.last {
		if now.Sub(at) >= probeEvery {
			delete(p.last, id)
		}
	}
	wait = probeEvery
	for _, id := range ids {
		if at, recent := p.last[id]; recent {
			wait = min(wait, probeEvery-now.Sub(at))
			continue
		}
		p.last[id] = now
		due = append(due, id)
	}
	return due, wait
}

// probe asks the upstreams that a is about whether they are there, and waits for it.
func (d *Daemon) probe(ctx context.Context, a admin.Action) (admin.Outcome, error) {
	c := d.chain.Load()
	t, err := c.target(a)
	if err != nil {
		return admin.Outcome{}, err
	}
	names := t.registry.upstreams
	if t.path != nil {
		names = []string{a.Upstream}
	}
	var ids []pathID
	for _, name := range names {
		ids = append(ids, pathID{a.Registry, name})
	}
	ids, wait := d.probed.take(ids, time.Now())
	if len(ids) == 0 {
		return admin.Outcome{}, &admin.Refusal{Status: http.StatusTooManyRequests, Code: "too_soon", Retry: wait,
			Detail: "it was probed a moment ago: registries ban addresses that knock too often"}
	}
	done := admin.Outcome{Operation: a.Kind, Registry: a.Registry, Upstream: a.Upstream, Before: t.word(a.Kind)}
	c.events.Record(a.Registry, a.Upstream, balancer.Override{Action: string(a.Kind), Actor: a.Actor, Reason: a.Reason})
	done.Probes, err = t.registry.check(ctx, ids)
	done.After = t.word(a.Kind)
	return done, err
}

// check probes the upstreams of ids beside each other. The error is an *admin.Refusal.
func (r registry) check(ctx context.Context, ids []pathID) ([]admin.Probed, error) {
	ctx, cancel := context.WithTimeout(ctx, probeAtMost)
	defer cancel()
	results, errs := make([]admin.Probed, len(ids)), make([]error, len(ids))
	var probing sync.WaitGroup
	room := make(chan struct{}, probesAtOnce)
	for i, id := range ids {
		probing.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			results[i].Upstream = id.upstream
			results[i].Result, errs[i] = r.checker.Check(ctx, id.upstream)
		})
	}
	probing.Wait()
	results = slices.DeleteFunc(results, func(p admin.Probed) bool { return p.At.IsZero() })
	if err := errors.Join(errs...); len(results) == 0 && err != nil {
		return nil, &admin.Refusal{Status: http.StatusConflict, Code: "not_probed", Detail: err.Error()}
	}
	return results, nil
}

// permanent is the configuration of the registry of a, an override, that would do for ever
// what a does for a while.
func (c *chain) permanent(a admin.Action) string {
	names := c.registryNamed(a.Registry).upstreams
	ordered := balancer.Ordered
	switch a.Kind {
	case admin.KindReorder:
		names = a.Order
	case admin.KindPin:
		names = append([]string{a.Upstream}, without(names, a.Upstream)...)
	default:
		names, ordered = without(names, a.Upstream), ""
	}
	return c.cfg.ShowRegistry(a.Registry, names, ordered)
}

func without(names []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(other string) bool { return other == name })
}
