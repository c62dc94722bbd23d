// Package daemon builds the chain from a configuration, listens, reloads and
// drains. It is the only room that knows all the others; it constructs and
// connects them and does nothing else.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/dashboard"
	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/front"
	"github.com/pullchain/pullchain/internal/guard"
	"github.com/pullchain/pullchain/internal/metrics"
	"github.com/pullchain/pullchain/internal/notify"
	"github.com/pullchain/pullchain/internal/openfiles"
	"github.com/pullchain/pullchain/internal/otlp"
	"github.com/pullchain/pullchain/internal/warm"
)

// Options are what a Daemon needs beside its configuration.
type Options struct {
	Version string       // shown to people
	Log     *slog.Logger // nil discards
	Source  string       // where the configuration came from; empty: what it says itself
	Demo    admin.Demo   // the simulated internet behind it; nil: it is the real one

	// Reload reads the configuration anew and calls the Daemon's Reload or ReloadFailed, for
	// an operator that asks for it. nil: there is nothing to read.
	Reload func() error
}

// A Daemon is a running pullchain. Its methods may be called at any time and
// from several goroutines, except that Listen comes before Run.
type Daemon struct {
	opts    Options
	cfg     *config.Config // the one it was started with: listeners do not reload
	log     *slog.Logger
	handler *front.Handler
	servers servers // from Listen on
	started time.Time
	tellers

	listeners // from Listen on, but for files
	guard     *guard.Guard
	storage   *storage        // from Listen on
	sampler   *sampler        // from Listen on
	warmth    *warm.Scheduler // from Listen on
	draining  atomic.Bool
	overrides *overrides
	probed    probesAsked

	mu     sync.Mutex      // serialises reloads
	ctx    context.Context // of the probing; nil before Run
	chain  atomic.Pointer[chain]
	reload reloadState
	known  diagnose.Tracker // since when each warning stands
}

// tellers tell others what is seen here: people by webhooks, and a collector by traces.
type tellers struct {
	notify *notify.Notifier
	traces *otlp.Exporter
}

// reloadState is how the last reload went. Guarded by Daemon.mu.
type reloadState struct {
	loaded time.Time // when the configuration in force was loaded
	at     time.Time // when the last reload was tried; zero if never
	err    error     // why it failed
}

// New builds the chain of cfg, which must be valid. It neither listens nor opens
// the cache yet.
func New(cfg *config.Config, opts Options) (*Daemon, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Source == "" {
		opts.Source = cfg.File
	}
	first, err := build(cfg, nil)
	if err == nil {
		err = first.admit(nil, opts.Log)
	}
	if err == nil {
		_, err = first.routes(nil)
	}
	if err != nil {
		return nil, err
	}
	d := &Daemon{opts: opts, cfg: cfg, log: opts.Log, started: time.Now(), guard: guard.New(opts.Log), overrides: newOverrides(opts.Log), probed: probesAsked{last: map[pathID]time.Time{}}}
	d.reload = reloadState{loaded: d.started}
	d.chain.Store(first)
	d.notify = d.newNotifier()
	if err := d.notify.Configure(cfg.Webhooks()); err != nil {
		return nil, err
	}
	collector, err := otlp.NewClient(cfg.Collector())
	if err != nil {
		return nil, err
	}
	d.traces = newTraces(opts, d.guard)
	d.traces.Use(collector)
	d.files = openfiles.Keep(opts.Log)
	for _, warning := range cfg.Warnings {
		d.log.Warn("configuration", "warning", warning)
	}
	d.warnOfSources(cfg)
	return d, nil
}

// adminServer returns the server of the operator's plane. It needs no drain: its
// answers are short, or streams that their reader can ask for again.
func (d *Daemon) adminServer() *http.Server {
	from := admin.Sources{Snapshot: d.Snapshot, Cache: d.storage.forOperators(), Operator: d, Events: d.chain.Load().events, History: d.sampler.rings, Traffic: d.handler.Traffic()}
	from.Warm = d.warmth
	from.Demo = d.opts.Demo
	from.Explainer, from.Config = &explainer{daemon: d}, d.Config
	from.Streams, from.Guard, from.Log = new(admin.StreamCounts), d.guard, d.log
	from.Metrics = metrics.New(metrics.Sources{Snapshot: d.Snapshot, Traffic: d.handler.Traffic().Counts, Streams: from.Streams, Guard: d.guard, Log: d.log})
	from.Pages = dashboard.New(from)
	return &http.Server{
		Handler:           d.guard.Handler(guard.Page, admin.New(d.cfg.Admin, from)),
		ConnContext:       admin.ConnContext,
		ReadHeaderTimeout: 10 * time.Second, // these are docs/faults.md 6's; its answers are small
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
	}
}

// Events returns where everything is recorded that happens to upstreams, and that operators
// do. It stays the same over reloads.
func (d *Daemon) Events() *balancer.Events { return d.chain.Load().events }

// lameDuck is how long a load balancer gets at least to see that we are no longer
// ready before we stop accepting (docs/faults.md F36). A loopback has no load balancer.
const lameDuck = 5 * time.Second

// minClose is what the cache gets to close when the pulls have taken all of
// drain_timeout.
const minClose = time.Second

// quiet is how long no request must have been under way for a drain that serves to
// be over: more than a client takes between two requests of one pull.
const quiet = time.Second

// Run serves and probes until ctx is done, then drains: not ready at once, what is
// under way and what comes finished within drain_timeout. It returns nil after an
// orderly end.
func (d *Daemon) Run(ctx context.Context) error {
	// Not derived from ctx: while we drain, the pulls that are under way still need
	// lanes whose state is known.
	probing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	d.mu.Lock()
	d.ctx = probing
	d.chain.Load().start(probing)
	d.mu.Unlock()
	var sampling sync.WaitGroup
	sampling.Go(func() { d.sampler.run(probing, d.chain.Load) })
	sampling.Go(func() { d.endOverrides(probing) })
	sampling.Go(func() { forgetAsked(probing, d) })
	sampling.Go(func() { giveBack(probing, d) })
	sampling.Go(func() { d.files.Run(probing) })
	sampling.Go(func() { d.traces.Run(probing, d.handler.Traffic()) })
	sampling.Go(func() { d.watchForAlarms(probing) })
	sampling.Go(func() { d.watchForSilence(probing) })

	failed := make(chan error, 4+len(d.further))
	var serving sync.WaitGroup
	watching, quit := context.WithCancel(ctx)
	defer quit()
	serving.Go(func() { d.notify.Run(watching) })
	var warming sync.WaitGroup
	warming.Go(func() { d.warmth.Run(watching) })
	serving.Go(func() { failed <- d.servers.data.Serve(d.files.Clients(d.data)) })
	if d.redirect != nil {
		serving.Go(func() {
			if err := d.servers.redirect.Serve(d.files.Clients(d.redirect)); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
	}
	for _, l := range d.further {
		serving.Go(func() { failed <- l.server.Serve(d.files.Clients(l.Listener)) })
	}
	for _, l := range d.operator {
		serving.Go(func() {
			if err := d.servers.admin.Serve(d.files.Operators(l)); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stopping := time.Now()
	quit()         // how a daemon that goes stands is no news
	warming.Wait() // a drain would wait for its pulls
	d.drain()
	serving.Wait()
	d.storage.close(max(minClose, d.cfg.Server.DrainTimeout-time.Since(stopping)))
	stop()
	sampling.Wait()
	d.overrides.state.close()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.chain.Load().close(nil)
	return err
}

// drain ends serving in order: it says "not ready" first, gives load balancers the
// time to see that, serves what comes all the same, and only then accepts no more.
// The operator's plane goes last, so that it can be watched.
func (d *Daemon) drain() {
	d.draining.Store(true)
	if in := d.handler.InFlight(); in > 0 {
		d.log.Info("draining", "in_flight", in, "timeout", d.cfg.Server.DrainTimeout)
	}
	ctx := context.Background()
	if d.cfg.Server.Drain != front.DrainRefuse {
		// The time is counted from here: an orchestrator that kills after its own
		// patience counts from the signal (30 s in Kubernetes).
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.cfg.Server.DrainTimeout)
		defer cancel()
	}
	// A load balancer learns of it by its next check of /-/readyz, and sends new
	// connections until then: to refuse them at once would fail pulls that another
	// replica could serve.
	if d.isOpen() {
		select {
		case <-time.After(lameDuck):
		case <-ctx.Done():
		}
	}
	// An image is many requests. A client that has begun with its first layers comes
	// back for the others, and would fail at a listener that is closed.
	if d.cfg.Server.Drain != front.DrainRefuse {
		d.handler.Quiet(ctx, quiet)
	}
	var ending sync.WaitGroup
	for _, s := range d.dataServers(d.servers.data) {
		ending.Go(func() {
			if err := s.Shutdown(ctx); err != nil {
				d.log.Warn("drained", "error", err)
			}
		})
	}
	ending.Wait()
	d.servers.redirect.Close()
	d.servers.admin.Close()
}

// Reload builds the chain of cfg beside the one in force and swaps them. On an
// error the old one stays, and what it knows with it (docs/faults.md F37). Requests
// that are under way end on the chain they began on.
func (d *Daemon) Reload(cfg *config.Config) error {
	dropped := false
	defer func() { // once the mutex is let go
		if dropped {
			d.overrides.save()
		}
	}()
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.reload.at = now
	old := d.chain.Load()
	next, err := d.rebuild(cfg, old)
	var routes *front.Routes
	if err == nil {
		routes, err = next.routes(d.storage)
	}
	var collector *otlp.Client
	if err == nil {
		collector, err = otlp.NewClient(cfg.Collector())
	}
	if err == nil { // last: it takes effect at once
		err = d.notify.Configure(cfg.Webhooks())
	}
	if err != nil {
		d.reload.err = err
		d.log.Error("reload failed, the old configuration stays", "error", err)
		return err
	}
	d.reload.err, d.reload.loaded = nil, now
	if !reflect.DeepEqual(cfg.Server, d.cfg.Server) || !reflect.DeepEqual(cfg.Admin, d.cfg.Admin) || !reflect.DeepEqual(cfg.Listeners, d.cfg.Listeners) {
		d.log.Warn("[server], [[listener]] and [admin] have changed: that takes a restart")
	}
	d.warnOfSources(cfg)
	// Requests begin on the new chain from here on. Only then is the old one closed,
	// and what began on it goes on there.
	dropped = d.override(next)
	d.traces.Use(collector)
	if d.handler != nil {
		d.storage.reload(cfg.Cache)
		d.warmth.Set(cfg.Warm)
	}
	d.swap(next, routes)
	d.log.Info("configuration reloaded", "registries", len(next.registries), "kept", next.reused(old))
	return nil
}

// swap puts next, whose routes those are, in the place of the chain in force. The mutex is
// held.
func (d *Daemon) swap(next *chain, routes *front.Routes) {
	old := d.chain.Swap(next)
	if d.handler != nil {
		d.handler.SetAccess(next.access)
		d.handler.SetRoutes(routes)
		d.handler.Traffic().Retain(next.has)
	}
	old.close(next)
	next.events.Retain(next.has)
	if d.ctx != nil {
		next.start(d.ctx)
	}
}

// rebuild builds the chain of cfg for the listener that we have: that stays,
// whatever the new file says of it, and decides which clients can use an upstream's login.
func (d *Daemon) rebuild(cfg *config.Config, old *chain) (*chain, error) {
	// Editors empty a file before they write it, and a file that is moved away for a
	// moment reads as none at all: a mirror of some registries would become one of
	// others, with every login and proxy gone, by a SIGHUP that comes too early.
	if cfg.Implied && !old.cfg.Implied {
		return nil, fmt.Errorf("%s names no [[registry]], and the configuration in force does: "+
			"if it is meant so, restart; a reload does not empty a mirror", cfg.File)
	}
	// Before Listen there is no address but the file's, which loading has checked.
	if d.data != nil {
		bound := append([]string{d.Addr()}, d.Listeners()...)
		if err := errors.Join(cfg.CheckLogins(bound...), cfg.CheckAny(bound...)); err != nil {
			return nil, err
		}
	}
	next, err := build(cfg, old)
	if err == nil {
		err = next.admit(old, d.log)
	}
	return next, err
}

// ReloadFailed records that a configuration could not even be read.
func (d *Daemon) ReloadFailed(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reload.at, d.reload.err = time.Now(), err
	d.log.Error("reload failed, the old configuration stays", "error", err)
}

// reused counts the paths taken over from old.
func (c *chain) reused(old *chain) int {
	n := 0
	for id, p := range c.paths {
		if old.known(id) == p {
			n++
		}
	}
	return n
}
