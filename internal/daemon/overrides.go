package daemon

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/lapse"
)

// overridesFile is the name of the file in the state directory.
const overridesFile = "overrides.json"

// overrides are what operators want for a while. The balancers act on them, and end them
// by themselves; here is what is told of them and kept over a restart.
type overrides struct {
	state *state // from Listen on; before, one without a directory
	log   *slog.Logger
	wake  chan struct{} // has room for one: the list has changed

	writing sync.Mutex // held while the file is written, so that the last list is the one that stays

	mu   sync.Mutex
	list []admin.Override // the oldest first
}

// savedOverrides is the content of the file.
type savedOverrides struct {
	Schema    int              `json:"schema"`
	Overrides []admin.Override `json:"overrides"`
}

const overridesSchema = 1

func newOverrides(log *slog.Logger) *overrides {
	return &overrides{state: new(state), log: log, wake: make(chan struct{}, 1)}
}

// all returns those that still last, with their ends by the clock as it stands.
func (o *overrides) all(now time.Time) []admin.Override {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := slices.DeleteFunc(append([]admin.Override{}, o.list...), func(v admin.Override) bool { return lapse.Over(v.ExpiresAt, now) })
	for i := range list {
		list[i].ExpiresAt = lapse.Shown(list[i].ExpiresAt, now).Round(0)
	}
	return list
}

// sameSlot reports whether a and b cannot both be in force: an upstream is drained or
// disabled, and a registry has one pin and one order.
func sameSlot(a, b admin.Override) bool {
	return a.Registry == b.Registry && laneKind(a.Kind) == laneKind(b.Kind) &&
		(laneKind(a.Kind) && a.Upstream == b.Upstream || !laneKind(a.Kind) && a.Kind == b.Kind)
}

// laneKind reports whether an override of that kind is about one upstream.
func laneKind(k admin.Kind) bool { return k == admin.KindDrain || k == admin.KindDisable }

// drop takes out what gone reports, and returns it.
func (o *overrides) drop(gone func(admin.Override) bool) []admin.Override {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []admin.Override
	o.list = slices.DeleteFunc(o.list, func(v admin.Override) bool {
		if gone(v) {
			out = append(out, v)
			return true
		}
		return false
	})
	return out
}

// set puts v in the place of what it cannot be beside of.
func (o *overrides) set(v admin.Override) {
	o.drop(func(was admin.Override) bool { return sameSlot(was, v) })
	o.mu.Lock()
	o.list = append(o.list, v)
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default: // it is about to look anyway
	}
}

// load reads the file.
func (o *overrides) load(from *state) {
	o.state = from
	dir := from.dir
	var saved savedOverrides
	there, err := dir.load(overridesFile, &saved)
	if there && saved.Schema != overridesSchema {
		err = dir.spoilt(overridesFile, fmt.Errorf("it has schema %d, and not %d", saved.Schema, overridesSchema))
		saved.Overrides = nil
	}
	if err != nil {
		o.log.Warn("overrides are lost", "error", err)
	}
	now := time.Now()
	for i := range saved.Overrides { // the file may not be as it was written, or the clock have been set back since
		v := &saved.Overrides[i]
		left := min(v.ExpiresAt.Sub(now), admin.MaxTTL)
		if ttl := v.ExpiresAt.Sub(v.At); ttl > 0 {
			left = min(left, ttl)
		}
		v.ExpiresAt = now.Add(left) // from here on by both clocks
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = saved.Overrides
}

// save writes the file, and reports whether the overrides outlive a restart.
func (o *overrides) save() bool {
	if o.state.dir == "" {
		return false
	}
	o.writing.Lock()
	defer o.writing.Unlock()
	if err := o.state.dir.save(overridesFile, savedOverrides{overridesSchema, o.all(time.Now())}); err != nil {
		o.log.Warn("overrides end with a restart: they cannot be kept", "error", err)
		return false
	}
	return true
}

// soonest returns how long it is until one of them ends, at most a minute: a clock that is
// set, or a machine that has slept, must not make it late.
func (o *overrides) soonest(now time.Time) (time.Duration, bool) {
	list := o.all(now)
	if len(list) == 0 {
		return 0, false
	}
	first := slices.MinFunc(list, func(a, b admin.Override) int { return a.ExpiresAt.Compare(b.ExpiresAt) })
	return min(lapse.Left(first.ExpiresAt, now), time.Minute), true
}

// loadOverrides reads what a daemon before this one has kept, and puts it in force.
func (d *Daemon) loadOverrides(from *state) {
	d.mu.Lock()
	d.overrides.load(from)
	dropped := d.override(d.chain.Load())
	d.mu.Unlock()
	if dropped {
		d.overrides.save()
	}
}

// override puts the overrides in force on c, and drops those that it has no use for; it
// reports whether there were any. The daemon's mutex is held.
func (d *Daemon) override(c *chain) (dropped bool) {
	now := time.Now()
	over := d.overrides.drop(func(v admin.Override) bool { return lapse.Over(v.ExpiresAt, now) })
	for _, v := range over {
		d.ended(c, v)
	}
	gone := d.overrides.drop(func(v admin.Override) bool { return !c.apply(v) })
	for _, v := range gone {
		d.log.Warn("override dropped: the configuration has nothing by that name any more",
			"action", v.Kind, "registry", v.Registry, "upstream", v.Upstream, "order", v.Order, "actor", v.Actor, "reason", v.Reason)
		c.cancel(v)
	}
	last := d.overrides.drop(func(v admin.Override) bool { return !v.Forced && c.leavesNone(v) })
	for _, v := range last {
		d.log.Warn("override dropped: the configuration has no other upstream for the registry any more",
			"action", v.Kind, "registry", v.Registry, "upstream", v.Upstream, "actor", v.Actor, "reason", v.Reason)
		c.cancel(v)
	}
	return len(over)+len(gone)+len(last) > 0
}

// leavesNone reports whether v, which is in force, takes out the last upstream of its
// registry that may be asked for a tag: the others are gone from the file.
func (c *chain) leavesNone(v admin.Override) bool {
	r := c.registryNamed(v.Registry)
	if !laneKind(v.Kind) || r.balancer == nil {
		return false
	}
	return !slices.ContainsFunc(r.balancer.Snapshot().Lanes, func(l balancer.LaneSnapshot) bool {
		return l.Trust == "resolve" && l.State != balancer.StateDrained && l.State != balancer.StateDisabled
	})
}

// apply puts v in force, and reports whether it could.
func (c *chain) apply(v admin.Override) bool {
	r, p, until := c.registryNamed(v.Registry), c.known(pathID{v.Registry, v.Upstream}), v.ExpiresAt
	switch {
	case r.balancer == nil:
		return false
	case v.Kind == admin.KindReorder && r.permutes(v.Order):
		r.balancer.Reorder(v.Order, until)
	case p == nil:
		return false
	case v.Kind == admin.KindDrain:
		p.lane.SetAdminState(balancer.Drained, until)
	case v.Kind == admin.KindDisable:
		p.lane.SetAdminState(balancer.Disabled, until)
	case v.Kind == admin.KindPin:
		r.balancer.Pin(v.Upstream, until)
	default:
		return false
	}
	return true
}

// cancel ends v, as far as c has what it is about.
func (c *chain) cancel(v admin.Override) {
	r, p := c.registryNamed(v.Registry), c.known(pathID{v.Registry, v.Upstream})
	switch {
	case laneKind(v.Kind) && p != nil:
		p.lane.SetAdminState("", time.Time{})
	case v.Kind == admin.KindPin && r.balancer != nil:
		r.balancer.Pin("", time.Time{})
	case v.Kind == admin.KindReorder && r.balancer != nil:
		r.balancer.Reorder(nil, time.Time{})
	}
}

// permutes reports whether names are r's upstreams, each once.
func (r registry) permutes(names []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(names)), slices.Sorted(slices.Values(r.upstreams)))
}

// ended tells that the time of v is over. The gates have opened by themselves.
func (d *Daemon) ended(c *chain, v admin.Override) {
	d.log.Info("override ended", "action", v.Kind, "registry", v.Registry, "upstream", v.Upstream, "order", v.Order, "actor", v.Actor, "reason", v.Reason)
	c.events.Record(v.Registry, v.Upstream, balancer.Override{Action: string(v.Kind), Order: v.Order, Actor: v.Actor, Reason: v.Reason, Ended: true})
}

// endOverrides takes note of overrides whose time is over, until ctx is done.
func (d *Daemon) endOverrides(ctx context.Context) {
	for {
		var due <-chan time.Time
		if wait, some := d.overrides.soonest(time.Now()); some {
			due = time.After(wait)
		}
		select {
		case <-due:
		case <-d.overrides.wake:
		case <-ctx.Done():
			return
		}
		d.mu.Lock()
		now := time.Now()
		over := d.overrides.drop(func(v admin.Override) bool { return lapse.Over(v.ExpiresAt, now) })
		slices.SortFunc(over, func(a, b admin.Override) int { return cmp.Or(a.ExpiresAt.Compare(b.ExpiresAt), a.At.Compare(b.At)) })
		for _, v := range over {
			d.ended(d.chain.Load(), v)
		}
		d.mu.Unlock()
		if len(over) > 0 {
			d.overrides.save()
		}
	}
}
