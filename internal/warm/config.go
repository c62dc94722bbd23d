package warm

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Config is one [[warm]] table: images that are to be in the cache before a client asks
// for them.
type Config struct {
	Images    []string      `toml:"images"`    // as people type them: "alpine:3.20", "ghcr.io/owner/app:v1"
	Every     time.Duration `toml:"every"`     // from one run to the next; 0 is DefaultEvery
	Platforms []string      `toml:"platforms"` // as in "linux/amd64"; "current" is this machine's; none are all
	Jobs      int           `toml:"jobs"`      // blobs at a time; 0 is DefaultJobs
}

// What stands for 0 in a Config.
const (
	DefaultEvery = 6 * time.Hour
	DefaultJobs  = 4
)

// The bounds of a Config. Registries ban clients that ask too often, and a tag that is
// believed for a minute needs no more than this.
const (
	minEvery  = 10 * time.Minute
	maxEvery  = 30 * 24 * time.Hour
	MaxJobs   = 64 // beyond what any upstream lets one client have
	maxImages = 1000
)

// Validate reports every field that cannot be meant, by its TOML name.
func (c Config) Validate() error {
	var errs []error
	if len(c.Images) == 0 {
		errs = append(errs, errors.New(`images: is required, as in ["alpine:3.20"]`))
	}
	if len(c.Images) > maxImages {
		errs = append(errs, fmt.Errorf("images: %d are more than %d", len(c.Images), maxImages))
	}
	for _, text := range c.Images {
		if _, err := ParseImage(text); err != nil {
			errs = append(errs, fmt.Errorf("images: %w", err))
		}
	}
	if c.Every != 0 && (c.Every < minEvery || c.Every > maxEvery) {
		errs = append(errs, fmt.Errorf("every: %v is not between %v and %v", c.Every, minEvery, maxEvery))
	}
	if _, err := c.platforms(); err != nil {
		errs = append(errs, fmt.Errorf("platforms: %w", err))
	}
	if c.Jobs < 0 || c.Jobs > MaxJobs {
		errs = append(errs, fmt.Errorf("jobs: must be from 1 to %d", MaxJobs))
	}
	return errors.Join(errs...)
}

// WithDefaults returns c with every zero field set to what it means.
func (c Config) WithDefaults() Config {
	if c.Every == 0 {
		c.Every = DefaultEvery
	}
	if c.Jobs == 0 {
		c.Jobs = DefaultJobs
	}
	return c
}

func (c Config) platforms() ([]Platform, error) {
	var out []Platform
	for _, text := range c.Platforms {
		p, err := parsePlatform(text)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// images returns what c names, each image once. One that Validate has refused is left out.
func (c Config) images() []Image {
	var out []Image
	for _, text := range c.Images {
		if img, err := ParseImage(text); err == nil {
			out = append(out, img)
		}
	}
	return Unique(out)
}

// Pull warms one image through m as c wants it. It reports false if ctx ended it.
func (c Config) Pull(ctx context.Context, m *Mirror, img Image) (Result, bool) {
	platforms, err := c.platforms()
	if err != nil {
		return Result{Image: img.String(), Error: err.Error(), Err: err}, true
	}
	w := Warming{Mirror: m, Platforms: platforms, Jobs: c.WithDefaults().Jobs}
	done := w.Run(ctx, []Image{img})
	if len(done) == 0 {
		return Result{}, false
	}
	return done[0], true
}
