package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/config"
)

// A cacheClient is the cache as its commands see it: that of a running daemon, or the
// directory that no daemon uses. What is not there is blobstore.ErrNotFound.
type cacheClient interface {
	where() string // for people
	stat(ctx context.Context) (cache.Snapshot, error)
	list(ctx context.Context, query string, limit int) (shown []cache.Entry, total int, err error) // limit 0 is none
	evict(ctx context.Context, what string) (cache.Change, error)
	pin(ctx context.Context, what string, pinned bool) (cache.Change, error)
	verify(ctx context.Context, report func(verified)) (verified, error) // report is for the progress
	gc(ctx context.Context) (freed int64, err error)
	close() error
}

// withCache runs do with the cache that the command line means: that of the
// daemon which answers, else, unless --addr named one, the directory.
func (a *app) withCache(ctx context.Context, do func(cacheClient) error) (err error) {
	s, err := a.cacheClient(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return do(s)
}

// cacheClient chooses between the two. The directory is only for when no daemon
// runs: the store is locked by the one that uses it.
func (a *app) cacheClient(ctx context.Context) (cacheClient, error) {
	p, there, err := a.cacheDaemon(ctx)
	switch {
	case err != nil:
		return nil, err
	case there:
		return &daemonCache{admin: p, app: a}, nil
	}
	cfg, err := a.readConfig()
	if err != nil {
		return nil, err
	}
	return a.dirCache(cfg, p.base)
}

// cacheDaemon returns the operator's plane of the daemon that has the cache. there
// is false when no daemon is, and --addr named none: then its directory may be
// used without one.
func (a *app) cacheDaemon(ctx context.Context) (p *adminClient, there bool, err error) {
	if p, err = a.adminClient(); err != nil {
		return nil, false, err
	}
	_, err = p.cacheSnapshot(ctx)
	switch {
	case err == nil:
		return p, true, nil
	case errors.Is(err, errNoCache):
		return nil, false, fmt.Errorf("%s: %w", p.base, err)
	case a.flags.Addr != "" || !nothingListens(err):
		return nil, false, a.unreachable(p, err)
	}
	return p, false, nil
}

// readConfig reads the configuration once more where no daemon answered: what is
// wrong with it, [app.adminClient] has said.
func (a *app) readConfig() (*config.Config, error) {
	cfg, err := a.loadConfig()
	if err != nil {
		return nil, &exitError{code: exitConfig}
	}
	return cfg, nil
}

// nothingListens reports whether nothing listens at an address at all: then no
// daemon can be in the way of looking into the directory.
func nothingListens(err error) bool {
	dial, ok := errors.AsType[*net.OpError](err)
	return ok && dial.Op == "dial"
}

// A dirCache is the directory of a cache, opened as a daemon would open it.
type dirCache struct {
	app   *app
	store *blobstore.Store
	cache *cache.Cache
}

// dirCache opens the directory of cfg. address is where no daemon answered.
func (a *app) dirCache(cfg *config.Config, address string) (cacheClient, error) {
	if !cfg.Cache.On() {
		return nil, errors.New(a.messages.Text("cache.off", "file", cfg.File))
	}
	dir, err := a.cacheDir(cfg)
	if err != nil {
		return nil, err
	}
	// Opening would make the directory, and a mistyped configuration would look
	// like an empty cache.
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New(a.messages.Text("cache.none", "dir", dir, "address", address))
	}
	store, err := blobstore.Open(blobstore.Config{Dir: dir, MaxSize: cfg.Cache.MaxSize})
	if errors.Is(err, blobstore.ErrLocked) {
		return nil, &exitError{exitUnreachable, errors.New(a.messages.Text("cache.locked", "dir", dir, "address", address))}
	}
	if err != nil {
		return nil, err
	}
	return &dirCache{app: a, store: store, cache: cache.New(cache.Options{Store: store})}, nil
}

// cacheDir returns the directory that cfg means.
func (a *app) cacheDir(cfg *config.Config) (string, error) {
	if cfg.Cache.Dir != "" {
		return cfg.Cache.Dir, nil
	}
	return cache.DefaultDir(func(name string) (string, bool) {
		value := a.Getenv(name)
		return value, value != ""
	})
}

func (s *dirCache) where() string { return s.app.messages.Text("cache.in_dir") }

func (s *dirCache) close() error { return errors.Join(s.cache.Close(), s.store.Close()) }

// stat waits until the directory has been read, which no daemon has done before us.
func (s *dirCache) stat(ctx context.Context) (cache.Snapshot, error) {
	for range s.store.All(ctx) {
		break
	}
	return s.cache.Snapshot(), ctx.Err()
}

// list lists everything at once: there is no answer of limited length to put it
// into.
func (s *dirCache) list(ctx context.Context, query string, limit int) ([]cache.Entry, int, error) {
	entries := s.cache.List(ctx, query)
	shown := entries
	if limit > 0 {
		shown = entries[:min(limit, len(entries))]
	}
	return shown, len(entries), ctx.Err()
}

func (s *dirCache) evict(ctx context.Context, what string) (cache.Change, error) {
	return s.cache.Evict(ctx, what)
}

func (s *dirCache) pin(ctx context.Context, what string, pinned bool) (cache.Change, error) {
	return s.cache.Pin(ctx, what, pinned)
}

// verify reports after each object, as the daemon does line by line.
func (s *dirCache) verify(ctx context.Context, report func(verified)) (verified, error) {
	var v verified
	err := s.cache.Verify(ctx, func(f blobstore.Finding) {
		v.Objects++
		v.Bytes += f.Size
		if f.Err != nil {
			v.Wrong = append(v.Wrong, finding{f.Digest.String(), f.Size, f.Err.Error()})
		}
		report(v)
	})
	return v, err
}

func (s *dirCache) gc(ctx context.Context) (int64, error) { return s.cache.GC(ctx) }
