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
)

// A stateDir is the directory of what outlives a restart: the overrides of operators among
// it. The empty one keeps nothing: what should be there lives in memory.
type stateDir string

// openStateDir finds the directory that cfg means and makes it. One that cannot be written
// stops no daemon: people are told, and do without.
func openStateDir(cfg admin.Config, log *slog.Logger) stateDir {
	if cfg.StateDir == admin.StateOff {
		return ""
	}
	dir, err := cfg.StateDir, error(nil)
	if dir == "" {
		dir, err = admin.DefaultStateDir(os.LookupEnv)
	}
	if err == nil {
		err = writable(dir)
	}
	if err != nil {
		log.Warn("nothing can be kept over a restart: overrides end with it", "dir", dir, "error", err,
			"fix", "let the user that runs pullchain write there, or name another directory: state_dir under [admin]")
		return ""
	}
	return stateDir(dir)
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
	f, err := os.CreateTemp(string(s), name+"-") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // no more there once it has its name
	_, err = f.Write(append(content, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(string(s), name)); err != nil {
		return err
	}
	dir, err := os.Open(string(s))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close()) // the name lasts too
}
