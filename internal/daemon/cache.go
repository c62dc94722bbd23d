package daemon

import (
	"errors"
	"log/slog"
	"os"
	"reflect"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
)

// A storage is the cache of a daemon's whole life and the store below it: reloads
// build new chains behind it. A nil storage has no cache.
type storage struct {
	log    *slog.Logger
	cfg    cache.Config // what is in force; guarded by the daemon's mutex
	wanted bool         // [cache] is not switched off
	dir    string

	store   *blobstore.Store // nil when there is no cache
	cache   *cache.Cache     // nil when store is
	trouble string           // why there is none although it is wanted
}

// openStorage opens the cache that cfg wants. One that cannot be had stops no
// daemon: pulls then go through as if it were switched off, and people are told
// (docs/faults.md F33). Of a disk that fills up later the store itself tells.
func openStorage(cfg cache.Config, log *slog.Logger) *storage {
	s := &storage{log: log, cfg: cfg, wanted: cfg.On(), dir: cfg.Dir}
	if !s.wanted {
		return s
	}
	if err := s.open(); err != nil {
		s.trouble = err.Error()
		log.Warn("there is no cache, everything is fetched anew each time", "dir", s.dir, "error", err, "fix", fixOf(err))
		return s
	}
	log.Info("cache", "dir", s.dir, "limit", admin.Amount(s.store.Stats().Limit))
	return s
}

// open opens the store and puts the cache above it. What a stop has left is looked
// at in the background: a large store must not keep the listener waiting.
func (s *storage) open() error {
	if s.dir == "" {
		dir, err := cache.DefaultDir(os.LookupEnv)
		if err != nil {
			return err
		}
		s.dir = dir
	}
	store, err := blobstore.Open(blobstore.Config{Dir: s.dir, MaxSize: s.cfg.MaxSize, Log: s.log})
	if err != nil {
		return err
	}
	s.store, s.dir = store, store.Stats().Dir // in full
	s.cache = cache.New(cache.Options{Store: store, TagTTL: s.cfg.TagTTL, StaleIfError: s.cfg.StaleIfError, VerifyMax: int64(s.cfg.VerifyMax), Log: s.log})
	s.cache.Scrub()
	return nil
}

// fixOf says what an operator can do about a cache that cannot be had.
func fixOf(err error) string {
	if errors.Is(err, blobstore.ErrLocked) {
		return "give each pullchain a directory of its own: dir under [cache], or enabled = false there"
	}
	return "let the user that runs pullchain write there, or name another directory: dir under [cache]"
}

// behindCache returns what answers for a registry: b, behind the cache if there is
// one.
func (s *storage) behindCache(name string, b *balancer.Balancer) pullchain.Fetcher {
	if s == nil || s.cache == nil {
		return b
	}
	return s.cache.Chain(cache.Registry{Name: name, Next: b, Blame: b.Blame, Holds: b.Holds, Knows: b.Knows, Waits: b.Waits, TooSlow: b.TooSlow, Outrun: b.Outrun})
}

// forOperators is the cache as operators see it; nil when there is none.
func (s *storage) forOperators() admin.Cache {
	if s.cache == nil {
		return nil // and not an interface that holds a nil
	}
	return s.cache
}

// snapshot is the cache as it stands, or why there is none; nil when it is
// switched off.
func (s *storage) snapshot() *cache.Snapshot {
	if s == nil || !s.wanted {
		return nil
	}
	if s.cache == nil {
		return &cache.Snapshot{Stats: blobstore.Stats{Dir: s.dir, Trouble: s.trouble}}
	}
	now := s.cache.Snapshot()
	return &now
}

// reload takes over what a new configuration can change while the cache is open.
// The daemon's mutex is held.
func (s *storage) reload(cfg cache.Config) {
	if cfg.On() != s.wanted || cfg.Dir != s.cfg.Dir {
		s.log.Warn("[cache] enabled or dir has changed: that takes a restart")
	}
	if s.cache == nil {
		return
	}
	if !reflect.DeepEqual(cfg.TagTTL, s.cfg.TagTTL) || cfg.StaleIfError != s.cfg.StaleIfError {
		s.cache.SetTimes(cfg.TagTTL, cfg.StaleIfError)
	}
	if cfg.MaxSize != s.cfg.MaxSize {
		s.store.SetMaxSize(cfg.MaxSize)
	}
	if cfg.VerifyMax != s.cfg.VerifyMax {
		s.cache.SetVerifyMax(int64(cfg.VerifyMax))
	}
	cfg.Enabled, cfg.Dir = s.cfg.Enabled, s.cfg.Dir
	s.cfg = cfg
}

// close ends the fills that go on without a client, so that the next start finds
// what they had. What that does not finish within the time is not waited for: the
// store is made to be left at any moment (docs/faults.md F35).
func (s *storage) close(within time.Duration) {
	if s == nil || s.cache == nil {
		return
	}
	closed := make(chan error, 1)
	// In a goroutine of its own: a disk that hangs would else keep the process from
	// ending.
	go func() { closed <- errors.Join(s.cache.Close(), s.store.Close()) }()
	select {
	case err := <-closed:
		if err != nil {
			s.log.Warn("closing the cache", "error", err)
		}
	case <-time.After(within):
		s.log.Warn("the cache was left as it is", "after", within)
	}
}
