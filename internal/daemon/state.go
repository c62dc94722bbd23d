package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/safefile"
)

// A stateDir is the directory of what outlives a restart: the overrides of operators among
// it. The empty one keeps nothing: what should be there lives in memory.
type stateDir string

// stateLock is the name of the file in it that one daemon at a time has locked: two that
// write the same files would take turns in losing what the other has kept.
const stateLock = "lock"

// A state is the directory as one daemon has it.
type state struct {
	dir     stateDir
	lock    *os.File       // nil: there is no directory
	trouble diagnose.State // why there is none although it is wanted
}

// openState finds the directory that cfg means, makes it and takes its lock, which the
// daemon gives back by close. One that cannot be had stops no daemon: people are told, and
// do without. Then nothing is read from it either, for what is there may be another daemon's.
func openState(cfg admin.Config, log *slog.Logger) *state {
	s := new(state)
	if cfg.StateDir == admin.StateOff {
		return s
	}
	dir, err := cfg.StateDir, error(nil)
	if dir == "" {
		dir, err = admin.DefaultStateDir(os.LookupEnv)
	}
	if err == nil {
		err = writable(dir)
	}
	if err == nil {
		s.lock, err = safefile.Lock(filepath.Join(dir, stateLock))
	}
	if err == nil {
		s.dir = stateDir(dir)
		return s
	}
	s.trouble = diagnose.State{Dir: dir, Trouble: err.Error()}
	fix := "let the user that runs pullchain write there, or name another directory: state_dir under [admin]"
	if errors.Is(err, safefile.ErrLocked) {
		s.trouble.InUse, err = true, errors.New("another pullchain uses this directory")
		fix = "give each pullchain a directory of its own: state_dir under [admin]"
	}
	log.Warn("nothing can be kept over a restart: overrides and the history of upstreams end with it", "dir", dir, "error", err, "fix", fix)
	return s
}

// close lets another daemon have the directory, once nothing more is written to it.
func (s *state) close() {
	if s.lock == nil {
		return
	}
	_ = safefile.Unlock(s.lock) // it ends with the process anyway
	s.lock = nil
}

// writable makes dir if it is not there, and reports why no file can be made in it.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "try-")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// maxState is how long a file of the directory may be.
const maxState = 16 << 20

// load reads the file of that name into v, and reports whether there was one. A file
// that is no use is renamed, so that it is there to be looked at and in nothing's way.
func (s stateDir) load(name string, v any) (bool, error) {
	if s == "" {
		return false, nil
	}
	path := filepath.Join(string(s), name)
	safefile.Clean(path)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxState)).Decode(v); err != nil {
		return false, s.spoilt(name, err)
	}
	return true, nil
}

// spoilt renames a file that is no use, because of err.
func (s stateDir) spoilt(name string, err error) error {
	path := filepath.Join(string(s), name)
	if failed := os.Rename(path, path+".spoilt"); failed != nil {
		return fmt.Errorf("%s cannot be used: %w; %w", path, err, failed)
	}
	return fmt.Errorf("%s cannot be used, and is %s.spoilt now: %w", path, name, err)
}

// save writes v as JSON to the file of that name: a crash leaves either what was there
// before or all of v, and no other user may read it.
func (s stateDir) save(name string, v any) error {
	content, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return safefile.Replace(filepath.Join(string(s), name), append(content, '\n'))
}
