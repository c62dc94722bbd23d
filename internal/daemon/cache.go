package daemon

import (
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
)

// A keep is the cache of a daemon's whole life and the store below it: reloads
// build new chains behind it. A nil keep has no cache.
type keep struct {
	log    *slog.Logger
	cfg    cache.Config // what is in force; guarded by the daemon's mutex
	wanted bool         // [cache] is not switched off
	dir    string

	store   *blobstore.Store // nil when there is no cache
	cache   *cache.Cache     // nil when store is
	trouble string           // why there is none although it is wanted
}

// openKeep opens the cache that cfg wants. One that cannot be had stops no
// daemon: pulls then go through as if it were switched off, and people are told
// (FAULTS.md F33). Of a disk that fills up later the store itself tells.
func openKeep(cfg cache.Config, log *slog.Logger) *keep {
	k := &keep{log: log, cfg: cfg, wanted: cfg.On(), dir: cfg.Dir}
	if !k.wanted {
		return k
	}
	if err := k.open(); err != nil {
		k.trouble = err.Error()
		log.Warn("there is no cache, everything is fetched anew each time", "dir", k.dir, "error", err, "fix", fixOf(err))
		return k
	}
	log.Info("cache", "dir", k.dir, "limit", admin.Amount(k.store.Stats().Limit))
	return k
}

func (k *keep) open() error {
	if k.dir == "" {
		dir, err := cache.DefaultDir(os.LookupEnv)
		if err != nil {
			return err
		}
		k.dir = dir
	}
	store, err := blobstore.Open(blobstore.Config{Dir: k.dir, MaxSize: k.cfg.MaxSize, Log: k.log})
	if err != nil {
		return err
	}
	k.store, k.dir = store, store.Stats().Dir // in full
	k.cache = cache.New(cache.Options{Store: store, TagTTL: k.cfg.TagTTL, StaleIfError: k.cfg.StaleIfError, Log: k.log})
	k.cache.Scrub()
	return nil
}

// fixOf says what an operator can do about a cache that cannot be had.
func fixOf(err error) string {
	if errors.Is(err, blobstore.ErrLocked) {
		return "give each pullchain a directory of its own: dir under [cache], or enabled = false there"
	}
	return "let the user that runs pullchain write there, or name another directory: dir under [cache]"
}

// before returns what answers for a registry: b, behind the cache if there is one.
func (k *keep) before(name string, b *balancer.Balancer) pullchain.Fetcher {
	if k == nil || k.cache == nil {
		return b
	}
	return k.cache.Chain(cache.Registry{Name: name, Next: b, Blame: b.Blame, Holds: b.Holds, Knows: b.Knows})
}

// operated is the cache as operators see it; nil when there is none.
func (k *keep) operated() admin.Cache {
	if k.cache == nil {
		return nil // and not an interface that holds a nil
	}
	return k.cache
}

// snapshot is the cache as it stands, or why there is none; nil when it is
// switched off.
func (k *keep) snapshot() *cache.Snapshot {
	if k == nil || !k.wanted {
		return nil
	}
	if k.cache == nil {
		return &cache.Snapshot{Stats: blobstore.Stats{Dir: k.dir, Trouble: k.trouble}}
	}
	s := k.cache.Snapshot()
	return &s
}

// reload takes over what a new configuration can change while the cache is open.
// The daemon's mutex is held.
func (k *keep) reload(cfg cache.Config) {
	if cfg.On() != k.wanted || cfg.Dir != k.cfg.Dir {
		k.log.Warn("[cache] enabled or dir has changed: that takes a restart")
	}
	if k.cache == nil {
		return
	}
	if cfg.TagTTL != k.cfg.TagTTL || cfg.StaleIfError != k.cfg.StaleIfError {
		k.cache.SetTimes(cfg.TagTTL, cfg.StaleIfError)
	}
	if cfg.MaxSize != k.cfg.MaxSize {
		k.store.SetMaxSize(cfg.MaxSize)
	}
	k.cfg.TagTTL, k.cfg.StaleIfError, k.cfg.MaxSize = cfg.TagTTL, cfg.StaleIfError, cfg.MaxSize
}

// close ends the fills that go on without a client, so that the next start finds
// what they had. What that does not finish within the time is not waited for: the
// store is made to be left at any moment (FAULTS.md F35).
func (k *keep) close(within time.Duration) {
	if k == nil || k.cache == nil {
		return
	}
	closed := make(chan error, 1)
	go func() { closed <- errors.Join(k.cache.Close(), k.store.Close()) }()
	select {
	case err := <-closed:
		if err != nil {
			k.log.Warn("closing the cache", "error", err)
		}
	case <-time.After(within):
		k.log.Warn("the cache was left as it is", "after", within)
	}
}
