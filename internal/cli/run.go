package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/daemon"
	"github.com/pullchain/pullchain/internal/egress"
)

// runCmd is `run`. Its flags stand above the file, also after a reload.
type runCmd struct {
	Listen      string `placeholder:"HOST:PORT" help:"${help_run_listen}"`
	AdminListen string `placeholder:"HOST:PORT" help:"${help_run_admin_listen}"`
	Egress      string `placeholder:"URL" help:"${help_run_egress}"`
}

// Run serves until ctx is done, which is an orderly end and no failure.
func (c *runCmd) Run(ctx context.Context, a *app) error {
	hangups := make(chan os.Signal, 1) // from the very start: a SIGHUP kills a process that does not wait for it
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	cfg, err := c.load(a)
	if err != nil {
		return err
	}
	lazyCollector(a.Getenv)
	// A level that can change: a reload may ask for debug without a restart.
	level := new(slog.LevelVar)
	level.Set(cfg.Log.SlogLevel())
	sink := a.openLog(cfg.Log, level)
	defer sink.Close()                                // before anything is said of an error
	defer context.AfterFunc(ctx, sink.WriteThrough)() // a second signal ends us where we are
	log := slog.New(sink.Handler())
	var again reloader
	d, err := daemon.New(cfg, daemon.Options{Version: thisBuild().Version, Log: log, Source: cfg.File, Reload: again.reload})
	again.load, again.daemon, again.level = func() (*config.Config, error) { return c.load(a) }, d, level
	if err != nil {
		return &exitError{exitConfig, err}
	}
	if err := d.Listen(); err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w; %s", err, a.messages.Text("run.in_use"))
		}
		return err
	}
	log.Info("limits", limits(d)...)
	if a.textLog(cfg.Log) {
		a.banner(cfg, d.Addr(), d.Listeners(), d.AdminAddr())
	} else {
		log.Info("serving", "listen", d.Addr(), "listeners", d.Listeners(), "admin", d.AdminAddr(), "config", cfg.File, "version", thisBuild().Version)
	}
	return serve(ctx, d, &again, hangups)
}

// limits are what this process may take of its machine, for the log. The runtime has raised
// the soft limit of descriptors to the hard one, and keeps to GOMEMLIMIT.
func limits(d *daemon.Daemon) []any {
	files := d.Snapshot().OpenFiles
	out := []any{"open_files", files.Limit, "reserved", files.Reserved}
	if memory := debug.SetMemoryLimit(-1); memory != math.MaxInt64 {
		out = append(out, "memory", admin.Amount(memory))
	}
	return out
}

// lazyCollector lets garbage grow to four times of what is in use: that is a few
// MiB here, since blobs live in files, and collecting it at every doubling costs
// a tenth of the time of a cached manifest. GOGC has the last word, and near GOMEMLIMIT
// the collector works as often as it has to.
func lazyCollector(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}

// load reads the configuration and puts what the command line says above it.
func (c *runCmd) load(a *app) (*config.Config, error) {
	cfg, err := a.loadConfig()
	if err != nil {
		return nil, err
	}
	if c.Listen != "" {
		cfg.Server.Listen = c.Listen
	}
	if c.AdminListen != "" {
		cfg.Admin.Listen = c.AdminListen
	}
	if c.Egress != "" {
		c.override(cfg)
	}
	if err := c.check(cfg); err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return cfg, nil
}

// fromFlag is the name of the egress that --egress makes.
const fromFlag = "command-line"

// override sends every upstream through the egress of the command line.
func (c *runCmd) override(cfg *config.Config) {
	name := c.Egress
	if name != egress.Direct && name != egress.Environment {
		name = fromFlag
		if cfg.Egress == nil {
			cfg.Egress = map[string]egress.Config{}
		}
		cfg.Egress[name] = egress.Config{Name: name, URL: c.Egress}
	}
	// Every upstream, also those for which the file names another egress.
	for i := range cfg.Registries {
		for j := range cfg.Registries[i].Upstreams {
			cfg.Registries[i].Upstreams[j].Egress = name
		}
	}
}

// check judges what the flags have changed, as loading judged the file.
func (c *runCmd) check(cfg *config.Config) error {
	adminCfg := admin.Config{Listen: cfg.Admin.Listen, TokenFile: cfg.Admin.TokenFile, Token: cfg.Admin.Token}
	var errs []error
	for _, one := range []struct {
		flag string
		err  error
	}{
		{"--listen", cfg.Server.Validate()},
		{"--listen", cfg.CheckLogins(cfg.Server.ListenAddr())},
		{"--listen", cfg.CheckAny(cfg.Server.ListenAddr())},
		{"--admin-listen", adminCfg.Validate()},
		{"--egress", cfg.Egress[fromFlag].Validate()},
	} {
		if one.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", one.flag, one.err))
		}
	}
	return errors.Join(errs...)
}

// serve runs d, and reloads it at each of hangups.
func serve(ctx context.Context, d *daemon.Daemon, again *reloader, hangups <-chan os.Signal) error {
	done := make(chan struct{})
	var reloading sync.WaitGroup
	reloading.Go(func() {
		for {
			select {
			case <-hangups:
				_ = again.reload() // the daemon has logged it
			case <-done:
				return
			}
		}
	})
	err := d.Run(ctx)
	close(done)
	reloading.Wait()
	return err
}

// A reloader replaces the configuration of a daemon.
type reloader struct {
	mu     sync.Mutex // a signal and an operator may ask at once: the later file is to stay
	load   func() (*config.Config, error)
	daemon *daemon.Daemon
	level  *slog.LevelVar
}

// reload replaces the configuration, if the new one can be used. The daemon
// logs either outcome and tells it in its snapshot.
func (r *reloader) reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	cfg, err := r.load()
	if err != nil {
		r.daemon.ReloadFailed(err)
		return err
	}
	if err := r.daemon.Reload(cfg); err != nil {
		return err
	}
	r.level.Set(cfg.Log.SlogLevel())
	return nil
}
