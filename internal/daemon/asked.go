package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain"
)

// Registries that clients name and no block of the configuration does are served as its
// block for any says, each by a chain of its own. How many are kept is bounded, for
// clients make them up at will.
const (
	maxAsked = 64

	// A registry that has answered is kept for askedFor after its last request, and makes
	// room for another after askedBusy; one that has not, at once.
	askedFor  = 24 * time.Hour
	askedBusy = 10 * time.Minute
	askedLook = 10 * time.Minute // how often those are looked for whose time is over
)

// An asked is what is known of the use of a registry that a client named. It outlives
// reloads, and is safe for concurrent use.
type asked struct {
	used     atomic.Int64 // when it was asked last, in nanoseconds since 1970
	answered atomic.Bool  // it has given something once
}

// noted returns next, of whose use a takes note; a nil one takes none.
func (a *asked) noted(next pullchain.Fetcher) pullchain.Fetcher {
	if a == nil {
		return next
	}
	return &notedFetcher{next, a}
}

type notedFetcher struct {
	next pullchain.Fetcher
	of   *asked
}

// Fetch notes the use.
func (f *notedFetcher) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	f.of.used.Store(time.Now().UnixNano())
	resp, err := f.next.Fetch(ctx, req)
	if err == nil {
		f.of.answered.Store(true)
	}
	return resp, err
}

// idle is for how long it has not been asked.
func (a *asked) idle() time.Duration { return time.Since(time.Unix(0, a.used.Load())) }

// madeUp reports whether all that is known of the registry is that a client named it. It
// may be a slip of the pen, and is no registry that people miss.
func (a *asked) madeUp() bool { return a != nil && !a.answered.Load() }

// over reports whether it has had its time.
func (a *asked) over() bool { return a.idle() > askedFor || !a.answered.Load() && a.idle() > askedBusy }

// ask serves a registry that no block names from now on, if the block for any permits it.
func ask(d *Daemon, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.chain.Load()
	want, err := old.cfg.Any(name)
	if err != nil {
		return err
	}
	if old.registryCalled(want.Name) != nil { // by another request
		return nil
	}
	next := old.copied()
	if !next.makeRoom() {
		return fmt.Errorf("no block of the configuration names it, and %d others that clients named are in use", maxAsked)
	}
	reg, err := next.registry(old.cfg, want, old)
	if err != nil {
		return err
	}
	reg.asked = new(asked)
	reg.asked.used.Store(time.Now().UnixNano())
	next.registries = append(next.registries, reg)
	routes, err := next.routes(d.storage)
	if err != nil {
		return err
	}
	d.swap(next, routes)
	d.log.Info("a client has named a registry that no block does", "registry", want.Name)
	return nil
}

// forgetAsked ends the registries that no client has named for long, until ctx is done.
func forgetAsked(ctx context.Context, d *Daemon) {
	look := time.NewTicker(askedLook)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			endAsked(d)
		case <-ctx.Done():
			return
		}
	}
}

func endAsked(d *Daemon) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := d.chain.Load().copied()
	if !next.drop(func(r registry) bool { return r.asked.over() }) {
		return
	}
	routes, err := next.routes(d.storage)
	if err != nil { // it has fewer names than the one in force
		d.log.Error("registries that clients named stay", "error", err)
		return
	}
	d.swap(next, routes)
}

// copied returns a chain of the same parts, to which others can be added.
func (c *chain) copied() *chain {
	next := *c
	next.registries = slices.Clone(c.registries)
	next.paths, next.egresses = maps.Clone(c.paths), maps.Clone(c.egresses)
	return &next
}

// makeRoom reports whether one more registry that a client named can be kept, and drops
// the one that is missed least if it has to.
func (c *chain) makeRoom() bool {
	var all []registry
	for _, r := range c.registries {
		if r.asked != nil {
			all = append(all, r)
		}
	}
	if len(all) < maxAsked {
		return true
	}
	least := slices.MinFunc(all, func(a, b registry) int {
		if a, b := a.asked.answered.Load(), b.asked.answered.Load(); a != b {
			if b {
				return -1
			}
			return 1
		}
		return int(b.asked.idle() - a.asked.idle())
	})
	if least.asked.answered.Load() && least.asked.idle() < askedBusy {
		return false
	}
	return c.drop(func(r registry) bool { return r.name == least.name })
}

// drop takes out the registries that clients named and which is true of, and reports
// whether there was one.
func (c *chain) drop(which func(registry) bool) bool {
	before := len(c.registries)
	c.registries = slices.DeleteFunc(c.registries, func(r registry) bool {
		if r.asked == nil || !which(r) {
			return false
		}
		for _, name := range r.upstreams {
			delete(c.paths, pathID{r.name, name})
		}
		return true
	})
	return len(c.registries) < before
}

// keepAsked takes over from old, after a reload, what clients named there and is neither
// named by a block now nor refused.
func (c *chain) keepAsked(old *chain) {
	if old == nil {
		return
	}
	for _, was := range old.registries {
		if was.asked == nil || c.registryCalled(was.name) != nil {
			continue
		}
		want, err := c.cfg.Any(was.name)
		if err != nil {
			continue
		}
		if reg, err := c.registry(c.cfg, want, old); err == nil {
			reg.asked = was.asked
			c.registries = append(c.registries, reg)
		}
	}
}
