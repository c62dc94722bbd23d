package blobstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pullchain/pullchain/internal/safefile"
)

// Config says where to keep content, and how much.
type Config struct {
	Dir     string       // made if it is not there
	MaxSize Size         // of all content; 0: the smaller of 10 GiB and a tenth of the disk
	Log     *slog.Logger // nil discards
}

// defaultMaxSize is the limit when none is set and the disk is large.
const defaultMaxSize = 10 << 30

// Errors that callers tell apart.
var (
	ErrNotFound = errors.New("not in the cache")
	ErrFull     = errors.New("no room in the cache")        // the disk is full, over quota, or all is pinned or in use
	ErrReadOnly = errors.New("the cache cannot be written") // a read-only or foreign directory
	ErrLocked   = errors.New("another pullchain uses this cache directory")
)

// A Store is content on a disk. It is safe for concurrent use.
type Store struct {
	holdings
	log *slog.Logger

	preparing sync.Mutex // guards the three below
	prepared  bool       // the folders, the version and the lock are there
	locked    *os.File
	maxSize   Size

	stop context.CancelFunc
	work sync.WaitGroup

	// Guarded by holdings.mu.
	closed   bool
	surveyed survey      // for Stats
	unsaved  []*entry    // whose mtime is to be written
	saver    *time.Timer // writes them
	sweeper  *time.Timer // drops what is old
}

// Open opens the store in cfg.Dir and begins to read what is there, in the
// background: content is found at once, only Stats and eviction wait for it. A
// directory that cannot be written opens too; its Stats say why. ErrLocked is
// returned when another process has it open.
func Open(cfg Config) (*Store, error) { return open(cfg, disk{space: diskSpace, files: diskFiles}) }

// open opens a store on a disk.
func open(cfg Config, d disk) (*Store, error) {
	s, err := prepared(cfg, d)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.work.Go(func() { scanner{s}.scan(ctx) })
	return s, nil
}

// prepared returns a store that has not begun to read its directory.
func prepared(cfg Config, d disk) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("a cache needs a directory")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	d.syncs = make(chan struct{}, maxSyncs)
	d.rooted = &rooted{dir: dir}
	s := &Store{
		log: cfg.Log, maxSize: cfg.MaxSize,
		stop: func() {},
	}
	s.tree = tree{dir: dir, disk: d, mark: rand.Text()[:10]}
	s.index, s.scanned = newIndex(), make(chan struct{})
	s.health = health{tree: &s.tree, log: s.log}
	s.index.limit = s.defaultLimit()
	switch err := s.prepare(); {
	case isFull(err), isReadOnly(err):
		_ = s.health.failed(err) // Stats say so, and a later write tries again
	case err != nil:
		_ = s.unlock()
		s.disk.leave()
		return nil, err
	}
	return s, nil
}

// ready returns why a write need not be tried, if so.
func (s *Store) ready() error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return os.ErrClosed
	}
	if t := s.health.now(); time.Now().Before(t.again) {
		return t.err
	}
	if err := s.prepare(); err != nil {
		return s.health.failed(err)
	}
	return nil
}

// defaultLimit returns how much may be kept.
func (s *Store) defaultLimit() int64 {
	if s.maxSize > 0 {
		return int64(s.maxSize)
	}
	if _, total, ok := s.disk.space(s.dir); ok {
		return min(defaultMaxSize, total/10)
	}
	return defaultMaxSize
}

// SetMaxSize changes how much may be kept, and evicts what is then too much; 0 is
// as in Config.
func (s *Store) SetMaxSize(size Size) {
	s.preparing.Lock()
	s.maxSize = size
	limit := s.defaultLimit()
	s.preparing.Unlock()
	s.mu.Lock()
	s.index.limit = limit
	s.mu.Unlock()
	s.evictOverLimit()
}

// prepare makes the folders and takes the lock. It is tried again by a later
// write when the directory cannot be written now.
func (s *Store) prepare() error {
	s.preparing.Lock()
	defer s.preparing.Unlock()
	if s.prepared {
		return nil
	}
	_ = s.disk.enter() // one that is not there yet is made below
	if err := s.checkVersion(); err != nil {
		return err
	}
	err := s.disk.mkdir(s.dir)
	if isReadOnly(err) && s.disk.enter() == nil {
		err = s.disk.inspect() // it is what is above that may not be written, and it is there
	}
	if err == nil {
		tellDoubt(s.dir, s.log)
	}
	if err == nil && s.locked == nil {
		s.locked, err = safefile.Lock(filepath.Join(s.dir, lockName))
		if errors.Is(err, safefile.ErrLocked) {
			err = ErrLocked
		}
	}
	for _, folder := range []string{blobsDir, partialDir, recordsDir} {
		if err == nil {
			err = s.disk.mkdir(filepath.Join(s.dir, folder))
		}
	}
	if err == nil {
		err = s.tryWriting()
	}
	if err != nil {
		return fmt.Errorf("cache directory %s: %w", s.dir, err)
	}
	limit := s.defaultLimit()
	s.mu.Lock()
	s.index.limit = limit
	s.mu.Unlock()
	s.prepared = true
	return nil
}

// tellDoubt tells of a directory that is used, and that others may be able to write into.
func tellDoubt(dir string, log *slog.Logger) {
	top, err := os.Stat(dir)
	if err != nil {
		return
	}
	if why, fix := doubt(dir, top); why != "" {
		log.Warn("the cache directory may not be ours alone", "dir", dir, "why", why, "fix", fix)
	}
}

// checkVersion refuses a directory that a later version has written.
func (t *tree) checkVersion() error {
	text, err := t.disk.readFile(filepath.Join(t.dir, versionName))
	if err != nil {
		return nil // new, or unreadable like all the rest
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err == nil && version > format {
		return fmt.Errorf("%s has been written by a later pullchain (format %d, this one knows %d): set another [cache] dir, or remove it", t.dir, version, format)
	}
	return nil
}

// tryWriting writes the version, which shows whether anything can be written.
func (t *tree) tryWriting() error {
	path := filepath.Join(t.dir, versionName)
	if text, err := t.disk.readFile(path); err == nil && strings.TrimSpace(string(text)) == strconv.Itoa(format) {
		probe := t.temp(path)
		if err := t.writeTemp(probe, nil, false); err != nil {
			return err
		}
		return t.disk.remove(probe)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return t.replace(path, []byte(strconv.Itoa(format)+"\n"), false)
}

// Close ends the background work and lets go of the directory. Objects and
// Spools that are open stay usable, and are no longer counted.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for _, timer := range []*time.Timer{s.saver, s.sweeper} {
		// A timer that could not be stopped has its function under way, which
		// says that it is done itself.
		if timer != nil && timer.Stop() {
			s.work.Done()
		}
	}
	s.mu.Unlock()
	s.stop()
	s.work.Wait()
	usage{s}.saveAllUses()
	defer s.disk.leave()
	return s.unlock()
}

// unlock lets go of the directory.
func (s *Store) unlock() error {
	s.preparing.Lock()
	defer s.preparing.Unlock()
	if s.locked == nil {
		return nil
	}
	return safefile.Unlock(s.locked)
}
