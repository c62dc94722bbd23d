package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Find returns the path of the configuration to load: explicit, which is what
// --config said, else $PULLCHAIN_CONFIG, else the first that exists of
// ./pullchain.toml, $XDG_CONFIG_HOME/pullchain/pullchain.toml (with ~/.config
// for the variable) and /etc/pullchain/pullchain.toml. The empty path means the
// embedded configuration, see [Load]. env is os.Getenv, but for tests.
func Find(explicit string, env func(string) string) (path string) {
	if explicit != "" {
		return explicit
	}
	if path = env("PULLCHAIN_CONFIG"); path != "" {
		return path
	}
	for _, path = range places(env) {
		if exists(path) {
			return path
		}
	}
	return ""
}

// places returns the paths where a configuration is looked for.
func places(env func(string) string) []string {
	// The folder that the command was started in comes first: a user that tries
	// things out has the file there.
	out := []string{"pullchain.toml"}
	dir := env("XDG_CONFIG_HOME")
	if home := env("HOME"); dir == "" && home != "" {
		dir = filepath.Join(home, ".config")
	}
	if dir != "" {
		out = append(out, filepath.Join(dir, "pullchain", "pullchain.toml"))
	}
	return append(out, "/etc/pullchain/pullchain.toml")
}

// exists reports whether there is something at path. What may not be looked at
// counts: to fall back to the embedded configuration in silence would be worse
// than the error that reading it gives.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil || errors.Is(err, fs.ErrPermission)
}
