package admin

import (
	"errors"
	"os"
	"path/filepath"
)

// StateOff is the Config.StateDir of a daemon that keeps nothing.
const StateOff = "off"

// systemStateDir is where a service keeps it (Filesystem Hierarchy Standard 3.0, 5.8).
const systemStateDir = "/var/lib/pullchain"

// DefaultStateDir returns where to keep what outlives a restart when nothing is said: where
// systemd wants it ($STATE_DIRECTORY, the first of a list; systemd.exec(5)), for root
// /var/lib/pullchain, else in the user's own directory for such files ($XDG_STATE_HOME, or
// ~/.local/state; XDG Base Directory Specification 0.8). env looks up a variable; nil
// knows none.
func DefaultStateDir(env func(string) (string, bool)) (string, error) {
	if env == nil {
		env = func(string) (string, bool) { return "", false }
	}
	list, _ := env("STATE_DIRECTORY")
	if dirs := filepath.SplitList(list); len(dirs) > 0 && dirs[0] != "" {
		return dirs[0], nil
	}
	if os.Geteuid() == 0 {
		return systemStateDir, nil
	}
	// A relative one is to be ignored, says the specification.
	if dir, _ := env("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "pullchain"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errors.New("no directory for the state; set state_dir under [admin]")
	}
	return filepath.Join(home, ".local", "state", "pullchain"), nil
}
