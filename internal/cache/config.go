package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
)

// Config is the [cache] table. The zero value is a cache with every default.
type Config struct {
	Enabled      *bool          `toml:"enabled"`        // true if unset
	Dir          string         `toml:"dir"`            // [DefaultDir] if unset
	MaxSize      blobstore.Size `toml:"max_size"`       // 0: the store's own rule
	TagTTL       *time.Duration `toml:"tag_ttl"`        // how long a tag is believed; nil: DefaultTagTTL, 0: it is always asked for
	StaleIfError time.Duration  `toml:"stale_if_error"` // how long it may be served when no upstream can say; 0: DefaultStaleIfError
	VerifyMax    blobstore.Size `toml:"verify_max"`     // up to what size a blob is verified before it is shown, where that is asked for; 0: DefaultVerifyMax
}

// The defaults (docs/faults.md 9: "tags 7 d if error, 60 s fresh").
const (
	DefaultTagTTL       = time.Minute
	DefaultStaleIfError = 7 * 24 * time.Hour
	DefaultVerifyMax    = fill.DefaultVerifyMax
)

// minSize is the least that max_size can be meant to be: less than most layers
// would leave a cache that keeps nothing.
const minSize = 16 << 20

// On reports whether there is to be a cache.
func (c Config) On() bool { return c.Enabled == nil || *c.Enabled }

// Validate reports every field that cannot be meant, by its TOML name.
func (c Config) Validate() error {
	var errs []error
	if c.MaxSize != 0 && c.MaxSize < minSize {
		errs = append(errs, fmt.Errorf("max_size: %v is less than %v", c.MaxSize, blobstore.Size(minSize)))
	}
	if c.TagTTL != nil && *c.TagTTL < 0 {
		errs = append(errs, errors.New("tag_ttl: must not be negative"))
	}
	if c.StaleIfError < 0 {
		errs = append(errs, errors.New("stale_if_error: must not be negative"))
	}
	return errors.Join(errs...)
}

// systemDir is where a service keeps it (Filesystem Hierarchy Standard 3.0, 5.5).
const systemDir = "/var/cache/pullchain"

// DefaultDir returns where to keep the cache when nothing is said: where systemd
// wants it ($CACHE_DIRECTORY, the first of a list; systemd.exec(5)), for root
// /var/cache/pullchain, else in the user's own cache directory. env looks up a
// variable; nil knows none.
func DefaultDir(env func(string) (string, bool)) (string, error) {
	if env != nil {
		list, _ := env("CACHE_DIRECTORY")
		if dirs := filepath.SplitList(list); len(dirs) > 0 && dirs[0] != "" {
			return dirs[0], nil
		}
	}
	if os.Geteuid() == 0 {
		return systemDir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no directory for the cache; set dir under [cache]: %w", err)
	}
	return filepath.Join(dir, "pullchain"), nil
}
