// Package notify tells people by webhooks when a registry goes bad or gets well: a
// level that has held for a while, once, in the words of the operator's plane.
//
// It looks at plain values, decides for each webhook what is news, and posts it as
// the service wants it, with retries. What is behind one cause is one message. It
// keeps nothing on disk.
package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/guard"
	"github.com/pullchain/pullchain/internal/snooze"
)

const (
	// A look takes a moment, so it is taken once a second at most; and every five
	// seconds at least, since not all that it sees is an event of the chain.
	shortestLook = time.Second
	longestLook  = 5 * time.Second
)

// Options are what a Notifier works with.
type Options struct {
	From func() Sender // asked for each message; Host may be empty: this machine's name
	Log  *slog.Logger  // nil discards

	Guard *guard.Guard // nil guards too, and tells of nothing

	// Look returns how things stand.
	Look func() State

	// Wait returns when something may have changed, or ctx is done.
	Wait func(ctx context.Context)
}

// A Notifier watches, and tells what is news by all webhooks that there are. Its
// methods may be called by several goroutines at once.
type Notifier struct {
	opts Options
	over func(Webhook) http.RoundTripper // instead of the network, in tests

	mu      sync.Mutex
	ctx     context.Context // of the workers; nil before Start
	hooks   []*hook         // in the configured order
	changed chan struct{}   // closed when hooks are others
	running sync.WaitGroup
}

// New returns a Notifier without webhooks.
func New(opts Options) *Notifier {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Notifier{opts: opts, changed: make(chan struct{})}
}

// Configure replaces the webhooks. One that is configured as it was goes on, and one
// of the same name takes over what was told, so that a reload repeats nothing. On an
// error the old ones stay.
func (n *Notifier) Configure(webhooks []Webhook) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	old := map[string]*hook{}
	for _, h := range n.hooks {
		old[h.Title()] = h
	}
	var next []*hook
	var errs []error
	for _, w := range webhooks {
		was := old[w.Title()]
		if was != nil && reflect.DeepEqual(was.Webhook, w) {
			next = append(next, was)
			continue
		}
		h, err := n.newHook(w)
		if err != nil {
			errs = append(errs, fmt.Errorf("notify %q: %w", w.Title(), err))
			continue
		}
		h.inherit(was)
		next = append(next, h)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	n.swapLocked(next)
	return nil
}

func (n *Notifier) newHook(w Webhook) (*hook, error) {
	var over http.RoundTripper
	if n.over != nil {
		over = n.over(w)
	}
	c, err := newClient(w, over)
	if err != nil {
		return nil, err
	}
	return &hook{Webhook: w, client: c, from: n.opts.From, log: n.opts.Log, guard: n.opts.Guard, track: newTracker(w.Config), wake: make(chan struct{}, 1), stop: func() {}}, nil
}

// inherit takes over what was has told, and has still to tell.
func (h *hook) inherit(was *hook) {
	if was == nil {
		return
	}
	h.track.things = was.track.clone()
	h.put(was.queued())
}

// swapLocked puts next in the place of the hooks that there are.
func (n *Notifier) swapLocked(next []*hook) {
	stay := map[*hook]bool{}
	for _, h := range next {
		stay[h] = true
	}
	for _, h := range n.hooks {
		if !stay[h] {
			h.stop()
		}
	}
	before := n.hooks
	n.hooks = next
	if n.ctx != nil {
		n.startLocked(before)
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// startLocked starts the workers of the hooks that are not among before.
func (n *Notifier) startLocked(before []*hook) {
	works := map[*hook]bool{}
	for _, h := range before {
		works[h] = true
	}
	for _, h := range n.hooks {
		if !works[h] {
			var ctx context.Context
			ctx, h.stop = context.WithCancel(n.ctx)
			n.running.Go(func() { h.run(ctx) })
		}
	}
}

// Run watches and tells until ctx is done. What is not told by then is not told.
func (n *Notifier) Run(ctx context.Context) {
	n.mu.Lock()
	n.ctx = ctx
	n.startLocked(nil)
	n.mu.Unlock()
	n.opts.Guard.Loop(ctx, guard.Notify, func() bool { n.watch(ctx); return true })
	n.mu.Lock()
	n.ctx = nil // a reload that comes now starts nothing any more
	n.mu.Unlock()
	n.running.Wait()
}

// watch looks once, and waits until there may be something to see. Without a webhook
// there is not.
func (n *Notifier) watch(ctx context.Context) {
	n.mu.Lock()
	hooks, changed := n.hooks, n.changed
	n.mu.Unlock()
	if len(hooks) == 0 {
		select {
		case <-ctx.Done():
		case <-changed:
		}
		return
	}
	next := n.observe(n.opts.Look())
	if !snooze.For(ctx, shortestLook) {
		return
	}
	wait := longestLook - shortestLook
	if !next.IsZero() {
		wait = min(wait, time.Until(next))
	}
	if wait <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	n.opts.Wait(ctx)
}

// observe shows s to all webhooks, and returns when to look next.
func (n *Notifier) observe(s State) (next time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	conditions := s.Conditions()
	for _, h := range n.hooks {
		changes, due := h.track.observe(s.Now, conditions)
		h.put(changes)
		if !due.IsZero() && (next.IsZero() || due.Before(next)) {
			next = due
		}
	}
	return next
}

// Snapshot returns how each webhook fares.
func (n *Notifier) Snapshot() []admin.Notifier {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := []admin.Notifier{}
	for _, h := range n.hooks {
		out = append(out, h.snapshot())
	}
	return out
}
